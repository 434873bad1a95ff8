/**
 * The token that the address brought (`#token=…`), taken out of the address at once: before the router
 * reads it, and before anything could keep it in the history.
 */
function take(): string | null {
  const found = /^#token=([^&]+)$/.exec(location.hash)
  if (found?.[1] === undefined) return null
  history.replaceState(history.state, '', location.pathname + location.search)
  return decodeURIComponent(found[1])
}

let waiting = take()

/** The token, once. */
export function takeToken(): string | null {
  const token = waiting ?? take()
  waiting = null
  return token
}
