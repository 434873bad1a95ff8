"""The operations of the API, one module a subject. Each is a thin handler: decode, ask a part of the Context,
answer with a struct of `views`."""
