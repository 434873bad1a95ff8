import { fileURLToPath } from 'node:url'
import vue from '@vitejs/plugin-vue'
import { defineConfig, type Plugin } from 'vite'

/**
 * naive-ui puts its styles into `<style>` elements through css-render, which a policy of
 * `style-src 'self'` forbids. The build swaps css-render's mount for one on constructable style sheets
 * (CSSOM, which the policy allows), so that neither a nonce nor 'unsafe-inline' is needed.
 */
function styleSheetsByCssom(): Plugin {
  const ours = fileURLToPath(new URL('./src/csp/css-render-mount.ts', import.meta.url))
  return {
    name: 'headrace:css-render-mount',
    enforce: 'pre',
    resolveId(source, importer) {
      return source === './mount' && importer?.includes('/css-render/esm/') ? ours : undefined
    },
  }
}

export default defineConfig({
  base: '/',
  plugins: [styleSheetsByCssom(), vue()],
  define: { __VUE_OPTIONS_API__: 'false', __VUE_PROD_DEVTOOLS__: 'false', __VUE_I18N_LEGACY_API__: 'false' },
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
  build: {
    outDir: '../src/headrace/api/console',
    emptyOutDir: true,
    target: 'es2022',
    // nothing is inlined as data: URLs, which the policy would refuse
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
  },
  server: { proxy: { '/api': process.env.HEADRACE_URL ?? 'http://127.0.0.1:8088' } },
})
