/** Pure: what the API sent, as the points, stretches and figures that a chart draws. */
import type { Gap, SeriesOne, Value } from '@/api/types'
import { asNumber } from '@/format/number'
import { severity, type Severity } from '@/format/quality'
import { toMs } from '@/format/time'

export type Point = [number, number | null]

export interface Stretch {
  from: number
  to: number
  what: 'uncertain' | 'bad' | 'gap'
  quality: number
}

export interface Curve {
  tag: string
  raw: boolean
  line: Point[]
  /** lower edge and height of the min-max band; empty for raw values */
  band: { low: Point[]; height: Point[] } | null
  stretches: Stretch[]
  figures: { min: number | null; max: number | null; mean: number | null; points: number }
}

/** A curve of one series: broken at gaps and where a bad value has no number to draw. */
export function curveOf(series: SeriesOne, gaps: readonly Gap[], to: number): Curve {
  const middle = series.mean ?? series.value ?? series.max ?? []
  const holes = gaps
    .map((gap): Stretch => ({ from: toMs(gap.from) ?? 0, to: toMs(gap.to) ?? 0, what: 'gap', quality: 0 }))
    .filter((hole) => hole.to > hole.from)
  const line = broken(series.time, middle, holes)
  const buckets = !series.raw && series.min !== undefined && series.max !== undefined
  let band: Curve['band'] = null
  if (buckets) {
    const heights = series.time.map((_, i) => {
      const [low, high] = [asNumber(series.min?.[i]), asNumber(series.max?.[i])]
      return low === null || high === null ? null : high - low
    })
    band = { low: broken(series.time, series.min ?? [], holes), height: broken(series.time, heights, holes) }
  }
  return {
    tag: series.tag,
    raw: series.raw,
    line,
    band,
    stretches: [...suspect(series, to), ...holes],
    figures: figures(series, middle),
  }
}

/**
 * Points with a null wherever the pen must leave the paper: between two points that a hole separates. A
 * bucket is stamped with its start, which may lie inside the hole whose end falls into the bucket.
 */
function broken(times: readonly number[], values: readonly (Value | undefined)[], holes: readonly Stretch[]): Point[] {
  const out: Point[] = []
  let hole = 0
  for (const [i, time] of times.entries()) {
    const before = times[i - 1]
    if (before !== undefined) {
      while (hole < holes.length && (holes[hole]?.to ?? 0) <= before) hole += 1
      const gap = holes[hole]
      if (gap !== undefined) {
        const apart = Math.min(time, gap.to) - Math.max(before, gap.from)
        if (apart * 2 > gap.to - gap.from) out.push([Math.max(before, gap.from) + 1, null])
      }
    }
    out.push([time, asNumber(values[i])])
  }
  return out
}

/** Where the values were not good, merged while the reason stays the same. */
function suspect(series: SeriesOne, to: number): Stretch[] {
  const out: Stretch[] = []
  let open: Stretch | null = null
  for (const [i, quality] of (series.quality ?? []).entries()) {
    const time = series.time[i] ?? 0
    const level: Severity = severity(quality)
    if (open !== null && (level === 'good' || quality !== open.quality)) {
      open.to = time
      out.push(open)
      open = null
    }
    if (level !== 'good' && open === null) open = { from: time, to: time, what: level, quality }
  }
  if (open !== null) {
    open.to = Math.max(open.from, to)
    out.push(open)
  }
  return out
}

function figures(series: SeriesOne, middle: readonly Value[]): Curve['figures'] {
  let [min, max, sum, n, points] = [Infinity, -Infinity, 0, 0, 0]
  for (const [i, value] of middle.entries()) {
    const weight = series.count?.[i] ?? 1
    points += weight
    const v = asNumber(value)
    if (v === null || severity(series.quality?.[i] ?? 0) === 'bad') continue
    min = Math.min(min, asNumber(series.min?.[i]) ?? v)
    max = Math.max(max, asNumber(series.max?.[i]) ?? v)
    sum += v * weight
    n += weight
  }
  return n === 0 ? { min: null, max: null, mean: null, points } : { min, max, mean: sum / n, points }
}

/** The newest point at or before `at`, and its place; null before the first. Times ascend. */
export function valueAt(series: SeriesOne, at: number): { value: Value; quality: number; time: number } | null {
  let [low, high] = [0, series.time.length - 1]
  while (low <= high) {
    const middle = (low + high) >> 1
    if ((series.time[middle] ?? 0) <= at) low = middle + 1
    else high = middle - 1
  }
  if (high < 0) return null
  const values = series.mean ?? series.value ?? series.max ?? []
  return { value: values[high] ?? null, quality: series.quality?.[high] ?? 0, time: series.time[high] ?? 0 }
}
