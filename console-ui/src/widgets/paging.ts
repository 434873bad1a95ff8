/** How much of a long list is asked for: more, in steps, when the reader wants more. */
import { ref, type Ref } from 'vue'

export function useLimit(step: number): { limit: Ref<number>; more: () => void } {
  const limit = ref(step)
  return { limit, more: () => (limit.value += step) }
}
