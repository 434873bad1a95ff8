/**
 * The one EventSource of the page: newest values by tag, and listeners for the other topics.
 *
 * The browser's own reconnection is not used: it neither backs off nor notices a link that is silently dead.
 * The stream carries an event at least every few seconds (the gateway topic); silence means it is lost.
 */
import { computed, ref, shallowRef, type ShallowRef } from 'vue'
import { address } from '@/api/client'
import type { Topic, Value } from '@/api/types'

export interface LiveValue {
  value: Value
  quality: number
  /** ms since the epoch; null before the first point */
  time: number | null
}

export type LinkState = 'idle' | 'connecting' | 'live' | 'lost'

const TOPICS: Topic[] = ['values', 'alarms', 'gateway', 'summary']
const SILENCE_MS = 15_000
const FIRST_WAIT_MS = 1_000
const LONGEST_WAIT_MS = 15_000

/** Ticks each second; relative times hang on it. */
export const now = ref(Date.now())
export const link = ref<LinkState>('idle')
export const heard = ref(0)
export const retryAt = ref(0)

/** True where what is on the screen may be old. */
export const lost = computed(() => link.value === 'lost')

const cells = new Map<string, ShallowRef<LiveValue | undefined>>()
type Listener = (data: unknown) => void
const listeners = new Map<string, Set<Listener>>()

/** The newest value of a tag, as the stream brings it; undefined before the first. */
export function liveValue(tag: string): ShallowRef<LiveValue | undefined> {
  let cell = cells.get(tag)
  if (cell === undefined) {
    cell = shallowRef<LiveValue | undefined>(undefined)
    cells.set(tag, cell)
  }
  return cell
}

/** Calls `listener` with the data of each event of `topic`; returns what ends that. */
export function listen(topic: Topic | 'open', listener: Listener): () => void {
  const set = listeners.get(topic) ?? new Set<Listener>()
  listeners.set(topic, set)
  set.add(listener)
  return () => set.delete(listener)
}

function tell(topic: string, data: unknown): void {
  for (const listener of listeners.get(topic) ?? []) listener(data)
}

let source: EventSource | null = null
let wait = FIRST_WAIT_MS
let timer: number | undefined
let ticking: number | undefined

function onValues(data: { t: number; v: Record<string, [Value, number, number | null]> }): void {
  for (const [tag, [value, quality, time]] of Object.entries(data.v)) {
    liveValue(tag).value = { value, quality, time }
  }
}

function receive(topic: Topic, handle?: (data: never) => void): (event: MessageEvent<string>) => void {
  return (event) => {
    heard.value = Date.now()
    if (link.value !== 'live') link.value = 'live'
    wait = FIRST_WAIT_MS
    const data: unknown = JSON.parse(event.data)
    handle?.(data as never)
    tell(topic, data)
  }
}

/** Connects now; the first call also starts the clock. */
export function connect(): void {
  window.clearTimeout(timer)
  source?.close()
  if (link.value !== 'lost') link.value = 'connecting'
  const es = new EventSource(address('/stream', { topics: TOPICS.join(',') }))
  source = es
  es.addEventListener('open', () => {
    heard.value = Date.now()
    tell('open', null)
  })
  es.addEventListener('values', receive('values', onValues))
  es.addEventListener('alarm', receive('alarms'))
  es.addEventListener('gateway', receive('gateway'))
  es.addEventListener('summary', receive('summary'))
  // this client fell too far behind to be told every event: whoever shows the topic asks afresh
  es.addEventListener('reset', (event: MessageEvent<string>) =>
    tell((JSON.parse(event.data) as { topic: Topic }).topic, null),
  )
  es.addEventListener('error', () => again())
  if (heard.value === 0) heard.value = Date.now()
  ticking ??= window.setInterval(tick, 1_000)
}

function again(): void {
  source?.close()
  source = null
  link.value = 'lost'
  const jitter = wait * (0.8 + 0.4 * Math.random())
  retryAt.value = Date.now() + jitter
  window.clearTimeout(timer)
  timer = window.setTimeout(connect, jitter)
  wait = Math.min(wait * 2, LONGEST_WAIT_MS)
}

function tick(): void {
  now.value = Date.now()
  if (source !== null && now.value - heard.value > SILENCE_MS) {
    heard.value = now.value
    again()
  }
}

export function disconnect(): void {
  window.clearTimeout(timer)
  window.clearInterval(ticking)
  ticking = undefined
  source?.close()
  source = null
  link.value = 'idle'
  heard.value = 0
  wait = FIRST_WAIT_MS
}
