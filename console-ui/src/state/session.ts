/** Who is signed in, at which node, and which screens the node declares. */
import { computed, ref, shallowRef } from 'vue'
import { ApiProblem, get, post, remove, whenDenied } from '@/api/client'
import type { Screen, ScreenEntry, Session } from '@/api/types'
import { takeToken } from './token'

export const session = shallowRef<Session | null>(null)
export const screens = shallowRef<ScreenEntry[]>([])
export const problem = shallowRef<unknown>(null)
export const ready = ref(false)

export const signedIn = computed(() => session.value?.signed_in === true)
export const timezone = computed(() => session.value?.node.timezone || 'UTC')

const declared = new Map<string, Promise<Screen>>()

/** The screen `id`, asked for once. */
export function screen(id: string): Promise<Screen> {
  let known = declared.get(id)
  if (known === undefined) {
    known = get<Screen>(`/screens/${encodeURIComponent(id)}`)
    known.catch(() => declared.delete(id))
    declared.set(id, known)
  }
  return known
}

async function load(): Promise<void> {
  session.value = await get<Session>('/session')
  if (session.value.signed_in) screens.value = await get<ScreenEntry[]>('/screens')
}

/** Opens the session: with the token of the address if it has one, which then leaves the address. */
export async function open(): Promise<void> {
  problem.value = null
  ready.value = false
  const token = takeToken()
  try {
    if (token !== null) {
      await signIn(token)
    } else {
      await load()
    }
  } catch (error) {
    problem.value = error
    if (error instanceof ApiProblem && error.status > 0 && session.value === null) {
      await load().catch(() => undefined) // a wrong token: the page still says which node this is
    }
  } finally {
    ready.value = true
  }
}

/** Raises ApiProblem where the token is not the right one. */
export async function signIn(token: string): Promise<void> {
  await post('/session', { token })
  declared.clear()
  await load()
  problem.value = null
}

export async function signOut(): Promise<void> {
  await remove('/session')
  if (session.value !== null) session.value = { ...session.value, signed_in: false, user: null }
}

whenDenied(() => {
  if (session.value?.signed_in) session.value = { ...session.value, signed_in: false, user: null }
})
