/** naive-ui in the console's colours: the tokens of styles/tokens.css, as its theme wants them. */
import { darkTheme, dateEnUS, dateZhCN, enUS, zhCN, type GlobalTheme, type GlobalThemeOverrides } from 'naive-ui'
import { computed, ref, watch } from 'vue'
import { dark, lang } from './prefs'

export const naiveTheme = computed<GlobalTheme | null>(() => (dark.value ? darkTheme : null))
export const naiveLocale = computed(() => (lang.value === 'zh' ? zhCN : enUS))
export const naiveDateLocale = computed(() => (lang.value === 'zh' ? dateZhCN : dateEnUS))

export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
}

export const naiveOverrides = ref<GlobalThemeOverrides>({})

watch(
  dark,
  () => {
    const link = token('link')
    naiveOverrides.value = {
      common: {
        fontFamily: token('font'),
        fontFamilyMono: token('mono'),
        borderRadius: '5px',
        bodyColor: token('bg'),
        cardColor: token('surface'),
        modalColor: token('surface'),
        popoverColor: token('raised'),
        tableColor: token('surface'),
        inputColor: token('raised'),
        textColorBase: token('text'),
        textColor1: token('text'),
        textColor2: token('text'),
        textColor3: token('text-3'),
        placeholderColor: token('text-3'),
        iconColor: token('text-3'),
        borderColor: token('line-strong'),
        dividerColor: token('line'),
        primaryColor: link,
        primaryColorHover: link,
        primaryColorPressed: link,
        primaryColorSuppl: link,
        warningColor: token('high'),
        errorColor: token('urgent'),
        errorColorHover: token('urgent'),
        hoverColor: token('hover'),
      },
    }
  },
  { immediate: true, flush: 'post' },
)
