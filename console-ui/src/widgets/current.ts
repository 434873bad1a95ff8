/** A tag's newest value: what the stream brought, or what the first answer said. */
import type { TagView, Value } from '@/api/types'
import { toMs } from '@/format/time'
import { liveValue } from '@/state/live'

export interface Current {
  value: Value
  quality: number
  time: number | null
}

export function current(tag: TagView): Current {
  const live = liveValue(tag.name).value
  if (live !== undefined) return live
  return { value: tag.value, quality: tag.quality, time: toMs(tag.time) }
}
