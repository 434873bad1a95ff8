/** Formatting bound to the current language, zone and clock; for components. */
import { useI18n } from 'vue-i18n'
import type { Format, Kind, Text, Value } from '@/api/types'
import { lang } from '@/state/prefs'
import { timezone } from '@/state/session'
import * as number from './number'
import * as time from './time'
import { isBytes, unitText } from './unit'

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

  /** [value, unit]; an em dash where there is no value. Bytes are scaled, and their unit with them. */
  function measured(v: Value | undefined, tag: Measured = {}): [string, string] {
    const unit = unitText(tag.unit ?? '')
    if (v === null || v === undefined) return ['—', unit]
    if (v === '') return [t('value.empty'), '']
    if (typeof v === 'boolean') return [t(v ? 'value.on' : 'value.off'), '']
    const n = isBytes(tag.unit ?? '') ? number.asNumber(v) : null
    if (n !== null) {
      const [figure, scale] = number.byteParts(n, lang.value)
      return [figure, scale + (tag.unit ?? '').slice('By'.length)]
    }
    // a count of few things, and not a share of one
    const whole = tag.unit === '' && Number.isInteger(v) && (tag.high ?? 0) - (tag.low ?? 0) > 10
    return [number.processValue(v, lang.value, whole ? null : (tag.low ?? null), whole ? null : (tag.high ?? null)), unit]
  }

  /** A value without its unit. */
  function value(v: Value | undefined, tag: Measured = {}): string {
    const [shown, unit] = measured(v, tag)
    return isBytes(tag.unit ?? '') && v !== null && v !== undefined ? `${shown} ${unit}` : shown
  }

  function valueUnit(v: Value | undefined, tag: Measured = {}): string {
    const [shown, unit] = measured(v, tag)
    return unit === '' || v === null || v === undefined ? shown : `${shown} ${unit}`
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
    measured,
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
