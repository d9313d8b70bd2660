import { loadEnv } from "vite";
import { defineConfig } from "vitest/config";

// `npm run dev` shows the page from its sources, with the answers of a running `classics explore`.
const server = loadEnv("", ".", "EXPLORER")["EXPLORER"] ?? "http://127.0.0.1:8420";

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../src/keras_classics/explorer/page",
    emptyOutDir: true,
    target: "es2022",
    // Everything is a file of our own host: the Content-Security-Policy knows no other.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": { target: server, changeOrigin: true } } },
  test: { environment: "node", include: ["test/**/*.test.ts"], testTimeout: 30_000 },
});
