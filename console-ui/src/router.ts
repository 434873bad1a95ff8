/** One route: the node says which screens there are, and a path is matched against theirs. */
import { createRouter, createWebHistory, type RouteLocationNormalized } from 'vue-router'
import type { ScreenEntry } from '@/api/types'
import ScreenPage from '@/shell/ScreenPage.vue'

export const router = createRouter({
  history: createWebHistory('/'),
  routes: [{ path: '/:path(.*)*', component: ScreenPage }],
  scrollBehavior: (to, from, saved) => saved ?? (to.path === from.path ? false : { top: 0 }),
})

/** The values of a path's `:name` segments, or null where the path is another. */
export function matchPath(pattern: string, path: string): Record<string, string> | null {
  const split = (p: string): string[] => p.split('/').filter(Boolean)
  const [wanted, given] = [split(pattern), split(path)]
  if (wanted.length !== given.length) return null
  const found: Record<string, string> = {}
  for (const [i, part] of wanted.entries()) {
    const here = decodeURIComponent(given[i] ?? '')
    if (part.startsWith(':')) found[part.slice(1)] = here
    else if (part !== here) return null
  }
  return found
}

export function findScreen(
  screens: readonly ScreenEntry[],
  route: RouteLocationNormalized,
): { entry: ScreenEntry; params: Record<string, string> } | null {
  for (const entry of screens) {
    const params = matchPath(entry.path, route.path)
    if (params !== null) return { entry, params }
  }
  return null
}
