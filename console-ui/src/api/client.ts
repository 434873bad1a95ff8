/** The one way to the API: JSON over fetch, problem documents as ApiProblem, 401 told to the session. */
import type { Text } from './types'

export const BASE = '/api/v1'

/** One of several faults of a request: where it stands, and what it is. */
export interface Fault extends Text {
  at: string
  code: string
}

/** An RFC 9457 problem document, or what stands for one where the node did not answer at all. */
export class ApiProblem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly body: Partial<Text> & { title?: string; detail?: string; errors?: Fault[]; incident?: string },
  ) {
    super(body.detail ?? body.title ?? code)
  }

  /** The text in `lang`; "" where the document holds none, so that the caller falls back by status. */
  text(lang: string): string {
    const own = lang === 'zh' ? this.body.zh : this.body.en
    return own ?? this.body.detail ?? this.body.title ?? ''
  }
}

export type Params = Record<string, string | number | boolean | null | undefined | readonly string[]>

export function address(path: string, params: Params = {}): string {
  const search = new URLSearchParams()
  for (const [key, value] of Object.entries(params)) {
    if (value === null || value === undefined || value === '') continue
    if (Array.isArray(value)) for (const one of value as readonly string[]) search.append(key, one)
    else search.set(key, String(value))
  }
  const query = search.toString()
  return `${BASE}${path}${query === '' ? '' : (path.includes('?') ? '&' : '?') + query}`
}

let onDenied: () => void = () => undefined

/** Who is told when the node says that nobody is signed in. */
export function whenDenied(listener: () => void): void {
  onDenied = listener
}

async function send<T>(method: string, url: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' }
  // a page of another origin cannot set this header: it is the proof against forged writes
  if (method !== 'GET') headers['X-Headrace'] = '1'
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  let response: Response
  try {
    response = await fetch(url, {
      method,
      headers,
      credentials: 'same-origin',
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? null,
    })
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new ApiProblem(0, 'console.unreachable', {})
  }
  if (response.ok) {
    if (response.status === 204) return undefined as T
    const text = await response.text()
    return (text === '' ? undefined : JSON.parse(text)) as T
  }
  let document: Record<string, unknown> = {}
  if ((response.headers.get('content-type') ?? '').includes('json')) {
    document = ((await response.json().catch(() => ({}))) ?? {}) as Record<string, unknown>
  }
  if (response.status === 401) onDenied()
  throw new ApiProblem(response.status, String(document.code ?? `http.${response.status}`), document)
}

export function get<T>(path: string, params?: Params, signal?: AbortSignal): Promise<T> {
  return send<T>('GET', address(path, params), undefined, signal)
}

export function post<T>(path: string, body: unknown): Promise<T> {
  return send<T>('POST', address(path), body)
}

export function remove(path: string): Promise<void> {
  return send<void>('DELETE', address(path))
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError'
}

/** The part of `data` at the dotted `pick`; "" is all of it. */
export function pickFrom(data: unknown, pick = ''): unknown {
  let at: unknown = data
  for (const key of pick === '' ? [] : pick.split('.')) {
    if (at === null || typeof at !== 'object') return undefined
    at = (at as Record<string, unknown>)[key]
  }
  return at
}

/** `template` with each `{name}` replaced from `fields`, encoded for an address but for its slashes. */
export function fill(template: string, fields: Record<string, unknown>): string {
  return template.replace(/\{([a-z_]+)\}/g, (_, key: string) =>
    encodeURIComponent(String(fields[key] ?? '')).replaceAll('%2F', '/'),
  )
}
