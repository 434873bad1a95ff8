/**
 * css-render's `mount` and `unmount` on constructable style sheets; see vite.config.ts for why.
 *
 * The signatures are css-render's own (esm/mount.js, version 0.15). One sheet an id, adopted once; a mount
 * with `force` replaces its text.
 */
interface Node {
  render(props?: unknown): string
}

const sheets = new Map<string, CSSStyleSheet>()
let counter = 0

export function mount(
  _instance: unknown,
  node: Node,
  id: string | undefined,
  props: unknown,
  _head: boolean,
  force: boolean,
): void {
  const key = id ?? `unnamed-${(counter += 1)}`
  const known = sheets.get(key)
  if (known !== undefined && !force) return
  const sheet = known ?? new CSSStyleSheet()
  sheet.replaceSync(node.render(props))
  if (known === undefined) {
    sheets.set(key, sheet)
    document.adoptedStyleSheets.push(sheet)
  }
}

export function unmount(_instance: unknown, _node: Node, id: string | undefined): void {
  const sheet = id === undefined ? undefined : sheets.get(id)
  if (sheet === undefined || id === undefined) return
  sheets.delete(id)
  document.adoptedStyleSheets = document.adoptedStyleSheets.filter((s) => s !== sheet)
}
