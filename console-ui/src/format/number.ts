/** Numbers as each language reads them: 万/亿 in Chinese, k/M/bn in English; process values by their range. */
import type { Value } from '@/api/types'

const SCALES: Record<string, [number, string][]> = {
  zh: [
    [1e12, '万亿'],
    [1e8, '亿'],
    [1e4, '万'],
  ],
  en: [
    [1e12, 'tn'],
    [1e9, 'bn'],
    [1e6, 'M'],
    [1e4, 'k'],
  ],
}
const DIVISOR: Record<string, number> = { k: 1e3 }

const formats = new Map<string, Intl.NumberFormat>()

function grouped(value: number, lang: string, digits: number, least = 0): string {
  const key = `${lang}/${digits}/${least}`
  let format = formats.get(key)
  if (format === undefined) {
    format = new Intl.NumberFormat(lang === 'zh' ? 'zh-CN' : 'en-GB', {
      maximumFractionDigits: digits,
      minimumFractionDigits: least,
    })
    formats.set(key, format)
  }
  return format.format(value).replace(/^-(?=.*[1-9])/, '−').replace(/^-/, '')
}

/** A count: 9,876 in full, then 1.23 万 / 12.3k, three figures kept. */
export function count(value: number, lang: string): string {
  const size = Math.abs(value)
  for (const [from, sign] of SCALES[lang] ?? []) {
    if (size >= from) {
      const scaled = value / (DIVISOR[sign] ?? from)
      const digits = Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2
      return grouped(scaled, lang, digits) + (lang === 'zh' ? ` ${sign}` : sign)
    }
  }
  return grouped(value, lang, Number.isInteger(value) ? 0 : size >= 100 ? 0 : size >= 10 ? 1 : 2)
}

/** A ratio 0..1 as a percentage; what is not quite all never rounds up to 100 %. */
export function percent(ratio: number, lang: string): string {
  const value = ratio * 100
  const shown = ratio < 1 ? Math.min(Math.floor(value * 100) / 100, 99.99) : value
  return `${grouped(shown, lang, shown >= 99 && shown < 100 ? 2 : 1)} %`
}

const BYTES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** [figure, unit] of a number of bytes. */
export function byteParts(value: number, lang: string): [string, string] {
  let size = value
  let step = 0
  while (Math.abs(size) >= 1024 && step < BYTES.length - 1) {
    size /= 1024
    step += 1
  }
  return [grouped(size, lang, step === 0 ? 0 : size >= 100 ? 0 : size >= 10 ? 1 : 2), BYTES[step] ?? 'B']
}

export function bytes(value: number, lang: string): string {
  return byteParts(value, lang).join(' ')
}

/**
 * How many decimals a value deserves, at most four: steps of a 500th to a 5000th of its range, or four
 * figures where it has none.
 */
export function decimals(low: number | null, high: number | null, value: number): number {
  const ranged = low !== null && high !== null && high > low
  if (!ranged && value === 0) return 0
  const figures = ranged ? Math.log10(5000 / (high - low)) + 1e-9 : 3 - Math.floor(Math.log10(Math.abs(value)) + 1e-9)
  return Math.min(4, Math.max(0, Math.floor(figures)))
}

/** What a numeric value is, or null where it is none (text, missing, NaN as a string). */
export function asNumber(value: Value | undefined): number | null {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null
  if (typeof value === 'boolean') return value ? 1 : 0
  if (typeof value === 'string' && /^-?\d+$/.test(value)) return Number(value)
  return null
}

/** A process value without its unit. Booleans are left to the caller, who knows the words. */
export function processValue(value: number | string, lang: string, low: number | null, high: number | null): string {
  if (typeof value === 'string') return value
  if (Number.isInteger(value) && (low === null || high === null || high - low > 1000)) {
    return grouped(value, lang, 0)
  }
  const size = Math.abs(value)
  // within a range what is far below its steps is nothing; without one it may be all there is
  const ranged = low !== null && high !== null && high > low
  if (size >= 1e12 || (!ranged && size !== 0 && size < 1e-4)) return value.toExponential(3).replace('-', '−')
  const digits = decimals(low, high, value)
  // without a range the digits follow the value, and trailing zeros would promise what is not known
  return grouped(value, lang, digits, ranged ? digits : 0)
}

export function plain(value: number, lang: string, digits = 3): string {
  return grouped(value, lang, digits)
}
