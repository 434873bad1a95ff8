/** The span of time that a trend shows, as its address says it and as zooming changes it. */
import { relative, toMs } from '@/format/time'

export interface Range {
  from: number
  to: number
}

export const SHORTEST_MS = 1_000
export const LONGEST_MS = 10 * 366 * 864e5

/** What the address says: relative spans follow the clock (`live`), two moments stand still. */
export interface Asked {
  /** ms back from now, or null where two moments are given */
  span: number | null
  range: Range | null
}

export function asked(from: string, to: string, fallback: string): Asked {
  const start = moment(from)
  const end = moment(to)
  if (start !== null && end !== null && end > start) return { span: null, range: { from: start, to: end } }
  return { span: relative(from) ?? relative(fallback) ?? 3_600_000, range: null }
}

function moment(text: string): number | null {
  if (/^\d{12,}(\.\d+)?$/.test(text)) return Number(text)
  return relative(text) === null ? toMs(text) : null
}

/** `range` scaled by `factor` about the moment `at`, within what can be shown. */
export function zoom(range: Range, at: number, factor: number, now: number): Range {
  const width = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, (range.to - range.from) * factor))
  const share = (at - range.from) / (range.to - range.from)
  const from = at - share * width
  return clamp({ from, to: from + width }, now)
}

export function pan(range: Range, by: number, now: number): Range {
  return clamp({ from: range.from + by, to: range.to + by }, now)
}

/** Nothing to be seen lies in the future: a range that reaches past now is moved back. */
function clamp(range: Range, now: number): Range {
  const over = range.to - now
  const slack = (range.to - range.from) * 0.02
  return over > slack ? { from: range.from - over + slack, to: range.to - over + slack } : range
}
