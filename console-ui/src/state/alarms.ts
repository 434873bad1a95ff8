/** The alarms that need a hand, counted for the badge of every page. */
import { computed, shallowRef } from 'vue'
import { get } from '@/api/client'
import type { AlarmView, Page, Priority } from '@/api/types'
import { listen } from './live'

const RANK: Priority[] = ['urgent', 'high', 'medium', 'low']
const list = shallowRef<AlarmView[]>([])
let timer: number | undefined

export const open = computed(() => list.value.length)
export const unacknowledged = computed(() => list.value.filter((a) => a.state.endsWith('-unack')).length)
export const worst = computed<Priority | null>(
  () => RANK.find((p) => list.value.some((a) => a.priority === p)) ?? null,
)

async function load(): Promise<void> {
  try {
    const page = await get<Page<AlarmView>>('/alarms', {
      state: 'active-unack,active-ack,cleared-unack',
      limit: 500,
    })
    list.value = page.items
  } catch {
    return // the page's own alarm list says what is wrong; the badge keeps its last count
  }
}

function soon(): void {
  window.clearTimeout(timer)
  timer = window.setTimeout(() => void load(), 250)
}

/** Keeps the count until the returned function is called. */
export function countAlarms(): () => void {
  const stops = [listen('alarms', soon), listen('open', soon)]
  void load()
  return () => stops.forEach((stop) => stop())
}
