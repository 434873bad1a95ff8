/** Keys that work on every page, unless the reader is typing. */
import { onMounted, onScopeDispose } from 'vue'
import { useRouter } from 'vue-router'

/** What follows `g`: the path it goes to. */
export const GO: Record<string, string> = { o: '/', t: '/trend', a: '/alarms', w: '/gateway' }
const CHORD_MS = 1_200

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest('input, textarea, select, [contenteditable="true"]') !== null
}

export function useShortcuts(help: () => void): void {
  const router = useRouter()
  let armed = 0

  function onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return
    const path = GO[event.key]
    if (Date.now() - armed < CHORD_MS && path !== undefined) {
      armed = 0
      event.preventDefault()
      void router.push(path)
    } else if (event.key === 'g') {
      armed = Date.now()
    } else if (event.key === '?') {
      event.preventDefault()
      help()
    } else if (event.key === '/') {
      const field = document.querySelector<HTMLInputElement>('[data-search] input')
      if (field !== null) {
        event.preventDefault()
        field.focus()
      }
    }
  }

  onMounted(() => window.addEventListener('keydown', onKey))
  onScopeDispose(() => window.removeEventListener('keydown', onKey))
}
