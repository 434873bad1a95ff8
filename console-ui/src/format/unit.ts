/** Quantities of bytes are scaled by 1024 as they are shown: B, KiB, MiB ... with what they are per. */
export function isBytes(unit: string): boolean {
  return unit === 'By' || unit.startsWith('By/')
}

/** UCUM codes as people write them: Cel → °C, m3/h → m³/h, kW.h → kW·h. */
const WHOLE: Record<string, string> = {
  Cel: '°C',
  '[degF]': '°F',
  deg: '°',
  Ohm: 'Ω',
  '1': '',
  '[ppm]': 'ppm',
  '[pH]': 'pH',
  By: 'B',
  '10*-6': 'ppm',
}
const SUPERSCRIPT: Record<string, string> = { '1': '¹', '2': '²', '3': '³', '4': '⁴', '-': '⁻' }

export function unitText(unit: string): string {
  if (unit in WHOLE) return WHOLE[unit] ?? ''
  return unit
    .split('/')
    .map((part) =>
      part
        .split('.')
        .map((atom) => {
          const found = /^(.*?[A-Za-z\]])(-?\d)$/.exec(atom)
          const base = found?.[1] ?? atom
          const power = [...(found?.[2] ?? '')].map((c) => SUPERSCRIPT[c] ?? c).join('')
          return (WHOLE[base] ?? base.replace(/^u(?=[A-Za-z])/, 'µ')) + power
        })
        .join('·'),
    )
    .join('/')
}
