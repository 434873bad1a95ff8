/** Alarm limits on tags: the alarms whose condition is a plain comparison of one tag with a constant. */
import type { AlarmView, Limit } from '@/api/types'

const TAG = String.raw`([a-z0-9_-]+(?:\/[a-z0-9_-]+)+)`
const NUMBER = String.raw`(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)`
const TAG_FIRST = new RegExp(String.raw`^${TAG}\s*(<=?|>=?)\s*${NUMBER}\b[^<>&|]*$`)
const NUMBER_FIRST = new RegExp(String.raw`^${NUMBER}\s*(<=?|>=?)\s*${TAG}$`)

/** By tag name. A condition of any other form draws no limit; it still alarms. */
export function limitsOf(alarms: readonly AlarmView[]): Map<string, Limit[]> {
  const found = new Map<string, Limit[]>()
  for (const alarm of alarms) {
    const when = alarm.when.trim().replaceAll('`', '')
    const direct = TAG_FIRST.exec(when)
    const turned = NUMBER_FIRST.exec(when)
    const tag = direct?.[1] ?? turned?.[3]
    if (tag === undefined) continue
    const above = direct ? direct[2]?.startsWith('>') : turned?.[2]?.startsWith('<')
    const limit: Limit = {
      value: Number(direct?.[3] ?? turned?.[1]),
      side: above ? 'high' : 'low',
      priority: alarm.priority,
      alarm: alarm.id,
    }
    found.set(tag, [...(found.get(tag) ?? []), limit])
  }
  return found
}
