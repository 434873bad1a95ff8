/** A widget's question to the API: asked at first, again when its topic moves, its time is up or a retry. */
import { onScopeDispose, ref, shallowRef, toValue, watch, type MaybeRefOrGetter, type Ref, type ShallowRef } from 'vue'
import { fill, get, isAbort, pickFrom } from '@/api/client'
import type { Query, Topic } from '@/api/types'
import { listen } from './live'

export interface Answer<T> {
  data: ShallowRef<T | null>
  error: ShallowRef<unknown>
  loading: Ref<boolean>
  reload: () => void
}

export interface Asking {
  /** the screen's parameters, for the braces of path and params */
  fields: Record<string, unknown>
  /** more of the query string */
  params?: Record<string, string | number | undefined>
}

const AT_MOST_EVERY_MS = 2_000
/** Paths whose whole answer is also the event of their topic. */
const TOLD: Partial<Record<Topic, string>> = { gateway: '/gateway', summary: '/summary' }

/**
 * The answer to `query`. Where the events of its topic carry the whole answer (gateway, summary) they
 * are taken as they come; the values of `values` come through `liveValue`, so nothing is asked again; any
 * other topic asks again, at most every two seconds.
 */
export function useQuery<T>(
  query: MaybeRefOrGetter<Query>,
  asking: MaybeRefOrGetter<Asking> = { fields: {} },
): Answer<T> {
  const data = shallowRef<T | null>(null)
  const error = shallowRef<unknown>(null)
  const loading = ref(true)
  let controller: AbortController | null = null
  let last = 0
  let timer: number | undefined
  let poll: number | undefined

  async function ask(): Promise<void> {
    const q = toValue(query)
    const { fields, params } = toValue(asking)
    window.clearTimeout(timer)
    timer = undefined
    controller?.abort()
    const mine = (controller = new AbortController())
    loading.value = true
    last = Date.now()
    const filled: Record<string, string> = {}
    for (const [key, value] of Object.entries(q.params ?? {})) {
      filled[key] = value.replace(/\{([a-z_]+)\}/g, (_, name: string) => String(fields[name] ?? ''))
    }
    try {
      const answer = await get<unknown>(fill(q.path, fields), { ...filled, ...params }, mine.signal)
      data.value = pickFrom(answer, q.pick) as T
      error.value = null
    } catch (problem) {
      if (isAbort(problem)) return
      error.value = problem
    }
    if (controller === mine) loading.value = false
  }

  function soon(): void {
    if (timer !== undefined) return
    timer = window.setTimeout(() => void ask(), Math.max(0, last + AT_MOST_EVERY_MS - Date.now()))
  }

  const stops: (() => void)[] = []
  function hear(): void {
    for (const stop of stops.splice(0)) stop()
    window.clearInterval(poll)
    const q = toValue(query)
    const topic = q.topic
    if (topic && TOLD[topic] === q.path) {
      stops.push(
        listen(topic, (event) => {
          data.value = pickFrom(event, q.pick) as T
          error.value = null
          loading.value = false
        }),
      )
    } else if (topic && topic !== 'values') {
      stops.push(listen(topic, soon))
      if (topic === 'summary') stops.push(listen('alarms', soon))
    }
    stops.push(listen('open', () => last !== 0 && soon()))
    if ((q.every_ms ?? 0) > 0) poll = window.setInterval(() => void ask(), q.every_ms)
  }

  watch(
    () => JSON.stringify([toValue(query), toValue(asking)]),
    () => {
      hear()
      void ask()
    },
    { immediate: true },
  )
  onScopeDispose(() => {
    for (const stop of stops) stop()
    window.clearTimeout(timer)
    window.clearInterval(poll)
    controller?.abort()
  })
  return { data, error, loading, reload: () => void ask() }
}
