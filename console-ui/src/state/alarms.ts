/** The alarms that need a hand, counted for the badge of every page. */
import { computed, shallowRef } from 'vue'
import { get } from '@/api/client'
import type { AlarmView, Page, Priority } from '@/api/types'
import { listen } from './live'

const RANK: Priority[] = ['urgent', 'high', 'medium', 'low']
const list = shallowRef<AlarmView[]>([])
let timer: number | undefined

export const active = computed(() => list.value.filter((a) => a.state.startsWith('active-')).length)
export const open = computed(() => list.value.length)
export const unacknowledged = computed(() => list.value.filter((a) => a.state.endsWith('-unack')).length)
/** The worst of the active ones; of those that only wait to be acknowledged where none is active. */
export const worst = computed<Priority | null>(() => {
  const asked = active.value > 0 ? list.value.filter((a) => a.state.startsWith('active-')) : list.value
  return RANK.find((p) => asked.some((a) => a.priority === p)) ?? null
})

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
