/**
 * Prints the JSON Schema of `service.json` (`npm run schema`), for editors and for tools that
 * write bundles. The same object that the forge checks manifests with, so it cannot be out of date.
 */

import { ManifestSchema } from '../../core/bundle/manifest.ts'

console.log(JSON.stringify(ManifestSchema, null, 2))
