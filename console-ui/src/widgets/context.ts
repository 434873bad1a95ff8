/** What a screen lends its widgets. */
import { inject, shallowRef, type ComputedRef, type InjectionKey, type ShallowRef } from 'vue'

export type Fields = Record<string, string | string[]>

export const FIELDS: InjectionKey<ComputedRef<Fields>> = Symbol('fields')
export const PAGE: InjectionKey<{ setTitle: (title: string) => void }> = Symbol('page')

export function useFields(): ComputedRef<Fields> {
  const fields = inject(FIELDS)
  if (fields === undefined) throw new Error('a widget stands outside of a screen')
  return fields
}

/** The tag that the tag table asks the write control of the same page to take. */
export const writeTarget: ShallowRef<{ tag: string } | null> = shallowRef(null)
