/** Times in the plant's zone, durations and ages. UTC is what hovering shows. */

const formats = new Map<string, Intl.DateTimeFormat>()

function format(zone: string, key: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const id = `${zone}/${key}`
  let known = formats.get(id)
  if (known === undefined) {
    // the parts are put together here, in ISO order in both languages; sv-SE gives them in that order
    known = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, hourCycle: 'h23', ...options })
    formats.set(id, known)
  }
  return known
}

const DATE: Intl.DateTimeFormatOptions = { year: 'numeric', month: '2-digit', day: '2-digit' }
const CLOCK: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', second: '2-digit' }

/** ms of an RFC 3339 string or of a number that is ms already; null where there is none. */
export function toMs(time: string | number | null | undefined): number | null {
  if (time === null || time === undefined || time === '') return null
  if (typeof time === 'number') return time
  // Date.parse knows at most milliseconds for certain: what is finer is cut
  const ms = Date.parse(time.replace(/(\.\d{3})\d+/, '$1'))
  return Number.isNaN(ms) ? null : ms
}

export function clock(ms: number, zone: string): string {
  return format(zone, 'clock', CLOCK).format(ms)
}

export function date(ms: number, zone: string): string {
  return format(zone, 'date', DATE).format(ms)
}

export function dateTime(ms: number, zone: string): string {
  return `${date(ms, zone)} ${clock(ms, zone)}`
}

/** The clock alone for a time of the last twelve hours' day, else with its date. */
export function shortTime(ms: number, zone: string, nowMs: number): string {
  return date(ms, zone) === date(nowMs, zone) ? clock(ms, zone) : dateTime(ms, zone)
}

export function utc(ms: number): string {
  return `${new Date(ms).toISOString().replace('T', ' ').replace('Z', '')} UTC`
}

/** How far the zone's clock is ahead of UTC at `ms`, in ms. */
export function offsetOf(ms: number, zone: string): number {
  const [y = 0, mo = 1, d = 1, h = 0, mi = 0, s = 0] = dateTime(ms, zone).split(/[- :]/).map(Number)
  return Date.UTC(y, mo - 1, d, h, mi, s) - Math.floor(ms / 1000) * 1000
}

export type Translate = (key: string, named: Record<string, unknown>) => string

/** A length of time in the one or two units that read: 850 ms, 12 s, 3 min 20 s, 5 h, 2 d 4 h. */
export function duration(ms: number, t: Translate): string {
  const size = Math.abs(ms)
  const one = (n: number, digits = 0): string => n.toFixed(digits).replace(/\.0$/, '')
  if (size < 1) return t('time.ms', { n: size === 0 ? '0' : one(size, 2) })
  if (size < 10) return t('time.ms', { n: one(size, 1) })
  if (size < 1_000) return t('time.ms', { n: one(size) })
  if (size < 9_950) return t('time.s', { n: one(size / 1_000, 1) })
  if (size < 59_500) return t('time.s', { n: one(size / 1_000) })
  const seconds = Math.round(size / 1_000)
  if (seconds < 3_600) {
    const s = seconds % 60
    const m = t('time.min', { n: Math.floor(seconds / 60) })
    return s === 0 ? m : `${m} ${t('time.s', { n: s })}`
  }
  const minutes = Math.round(seconds / 60)
  if (minutes < 1_440) {
    const m = minutes % 60
    const h = t('time.h', { n: Math.floor(minutes / 60) })
    return m === 0 ? h : `${h} ${t('time.min', { n: m })}`
  }
  const hours = Math.round(minutes / 60)
  const h = hours % 24
  const d = t('time.d', { n: Math.floor(hours / 24) })
  return h === 0 || hours >= 24 * 30 ? d : `${d} ${t('time.h', { n: h })}`
}

/** How long ago: "just now", "12 s ago"; a time ahead of this clock counts as now. */
export function ago(ms: number, nowMs: number, t: Translate): string {
  const age = nowMs - ms
  if (age < 2_000) return t('time.now', {})
  const rounded = age < 60_000 ? Math.floor(age / 1_000) * 1_000 : Math.floor(age / 60_000) * 60_000
  return t('time.ago', { age: duration(rounded, t) })
}

const SPANS: Record<string, number> = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 }

/** ms of a relative time such as "-15m"; null where the text is none. */
export function relative(text: string): number | null {
  const found = /^-(\d+)([smhdw])$/.exec(text)
  return found === null ? null : Number(found[1]) * (SPANS[found[2] ?? 's'] ?? 1e3)
}
