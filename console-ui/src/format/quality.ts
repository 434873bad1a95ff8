/** Quality: the high 16 bits of an OPC UA StatusCode, its severity and the message that says why. */

export type Severity = 'good' | 'uncertain' | 'bad'

export function severity(quality: number): Severity {
  return (['good', 'uncertain', 'bad', 'bad'] as const)[(quality >> 14) & 3] ?? 'bad'
}

/** The codes that have words of their own in the message files, under quality.reason. */
const REASONS = new Map<number, string>([
  [0x0096, 'local_override'],
  [0x4090, 'last_usable'],
  [0x4091, 'substitute'],
  [0x4092, 'initial'],
  [0x4093, 'sensor'],
  [0x4094, 'range'],
  [0x4095, 'subnormal'],
  [0x4098, 'simulated'],
  [0x8005, 'communication'],
  [0x8007, 'decoding'],
  [0x800a, 'timeout'],
  [0x8031, 'no_communication'],
  [0x8032, 'waiting'],
  [0x8034, 'address'],
  [0x803a, 'not_readable'],
  [0x803b, 'not_writable'],
  [0x803c, 'out_of_range'],
  [0x803d, 'not_supported'],
  [0x8089, 'configuration'],
  [0x808a, 'not_connected'],
  [0x808b, 'device_failure'],
  [0x808c, 'sensor_failure'],
  [0x808d, 'out_of_service'],
  [0x809b, 'no_data'],
])

/** The message key that says what is wrong with a value of this quality. */
export function reasonKey(quality: number): string {
  const reason = REASONS.get(quality)
  return reason === undefined ? `quality.${severity(quality)}` : `quality.reason.${reason}`
}

export function code(quality: number): string {
  return `0x${quality.toString(16).toUpperCase().padStart(4, '0')}`
}
