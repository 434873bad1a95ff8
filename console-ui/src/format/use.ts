/** Formatting bound to the current language, zone and clock; for components. */
import { useI18n } from 'vue-i18n'
import type { Format, Kind, Text, Value } from '@/api/types'
import { lang } from '@/state/prefs'
import { timezone } from '@/state/session'
import * as number from './number'
import * as time from './time'
import { unitText } from './unit'

interface Measured {
  unit?: string
  low?: number | null
  high?: number | null
  kind?: Kind
}

export function useFormat() {
  const { t, te } = useI18n()

  function text(value: Text | null | undefined, otherwise = ''): string {
    return value?.[lang.value] || otherwise
  }

  /** A value without its unit; an em dash where there is none. */
  function value(v: Value | undefined, tag: Measured = {}): string {
    if (v === null || v === undefined) return '—'
    if (typeof v === 'boolean') return t(v ? 'value.on' : 'value.off')
    return number.processValue(v, lang.value, tag.low ?? null, tag.high ?? null)
  }

  function valueUnit(v: Value | undefined, tag: Measured = {}): string {
    const unit = unitText(tag.unit ?? '')
    const shown = value(v, tag)
    return unit === '' || v === null || v === undefined || typeof v === 'boolean' ? shown : `${shown} ${unit}`
  }

  /** A headline figure as [figure, unit]. */
  function figure(v: unknown, format: Format = 'count', unit = ''): [string, string] {
    if (format === 'text') return [v === null || v === undefined ? '—' : String(v), '']
    const n = number.asNumber(v as Value)
    if (n === null) return ['—', '']
    switch (format) {
      case 'count':
        return [number.count(n, lang.value), unitText(unit)]
      case 'rate':
        return [number.count(n, lang.value), t('unit.per_second', { unit: unitText(unit) })]
      case 'percent':
        return [number.percent(n, lang.value), '']
      case 'bytes':
        return [number.bytes(n, lang.value), '']
      case 'duration_ms':
        return [time.duration(n, t), '']
      case 'number':
        return [number.plain(n, lang.value), unitText(unit)]
    }
  }

  return {
    t,
    te,
    text,
    value,
    valueUnit,
    figure,
    count: (n: number) => number.count(n, lang.value),
    bytes: (n: number) => number.bytes(n, lang.value),
    percent: (n: number) => number.percent(n, lang.value),
    plain: (n: number, digits = 3) => number.plain(n, lang.value, digits),
    duration: (ms: number) => time.duration(ms, t),
    dateTime: (ms: number) => time.dateTime(ms, timezone.value),
    clock: (ms: number) => time.clock(ms, timezone.value),
  }
}
