/** What the reader has chosen and the browser remembers: language and theme. */
import { computed, ref, watch } from 'vue'
import { i18n } from '@/messages'

export type Lang = 'zh' | 'en'
export type Theme = 'light' | 'dark' | 'auto'

function stored(key: string, allowed: readonly string[]): string | null {
  try {
    const value = localStorage.getItem(key)
    return value !== null && allowed.includes(value) ? value : null
  } catch {
    return null // a browser that keeps nothing: the defaults serve
  }
}

function store(key: string, value: string): void {
  try {
    localStorage.setItem(key, value)
  } catch {
    return
  }
}

function browserLang(): Lang {
  return navigator.languages.some((l) => l.toLowerCase().startsWith('zh')) &&
    !navigator.languages[0]?.toLowerCase().startsWith('en')
    ? 'zh'
    : 'en'
}

const media = window.matchMedia('(prefers-color-scheme: dark)')
const systemDark = ref(media.matches)
media.addEventListener('change', (event) => (systemDark.value = event.matches))

export const lang = ref<Lang>((stored('headrace.lang', ['zh', 'en']) as Lang | null) ?? browserLang())
export const theme = ref<Theme>((stored('headrace.theme', ['light', 'dark', 'auto']) as Theme | null) ?? 'auto')
export const dark = computed(() => (theme.value === 'auto' ? systemDark.value : theme.value === 'dark'))

watch(
  lang,
  (value) => {
    i18n.global.locale.value = value
    document.documentElement.lang = value === 'zh' ? 'zh-CN' : 'en'
  },
  { immediate: true },
)
watch(lang, (value) => store('headrace.lang', value))
watch(dark, (value) => (document.documentElement.dataset.theme = value ? 'dark' : 'light'), { immediate: true })
watch(theme, (value) => store('headrace.theme', value))
