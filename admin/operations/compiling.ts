/**
 * When compiled forms are made and removed: with an import, and between imports. All of it runs in
 * the queue of the forge, since compiling too takes a core and memory, and nothing is removed that
 * an import under way may have made.
 */

import { type GenerationRef, refKey } from '../../core/base/ids.ts'
import type { GenerationPlan } from '../../core/bundle/plan.ts'
import type { GenerationRecord } from '../store/records.ts'
import { needsOf } from '../store/thin-generation.ts'
import type { Catalog } from './catalog.ts'
import type { CompiledForms, FormView } from './compiled-forms.ts'
import type { Context } from './context.ts'
import type { ImportTask } from './import-board.ts'

/** Of a bundle that was forged and is not committed yet; a form that cannot be made is no fault. */
export async function compileImported(
  context: Context,
  source: { readonly directory: string; readonly plan: GenerationPlan },
  task: ImportTask,
): Promise<void> {
  const { forms } = context
  if (forms === null) return
  const needed = new Set([...keysOf(forms, mapped(context)), ...forms.keysOf(source.plan)])
  const tell = (detail: string): void => task.enter('compiling', detail, null)
  await forms.make(source, { diskBytes: task.space.available(), needed, tell })
}

/**
 * Makes what is missing, one after the other, as long as nobody wants to import; what receives
 * traffic comes first. Settles when there is nothing more to do now.
 */
export async function compileMissing(context: Context): Promise<void> {
  const { forms } = context
  if (forms === null || isBusy(context)) return
  await context.forging.run(() => forms.look())
  for (let next = nextMissing(context, forms); next !== null; next = nextMissing(context, forms)) {
    const { record, needed } = next
    const directory = context.home.directoryOf(record.serviceId, record.id)
    const source = { directory, plan: record.plan }
    const making = { diskBytes: context.imports.freeBytes(), needed, tell: () => {} }
    await context.forging.run(() => forms.make(source, making))
    if (isBusy(context) || context.imports.stopping.aborted) return
  }
}

/** Returns their names; null: none was looked at, since an import is under way. */
export async function removeUnusedForms(context: Context): Promise<readonly string[] | null> {
  const { forms, forging, catalog } = context
  if (forms === null) return []
  if (isBusy(context)) return null
  return forging.run(() => forms.removeUnused(new Set(keysOf(forms, generations(catalog)))))
}

/** A process crashed with models of these in it: whatever the proof said, they are served plain. */
export async function distrustForms(
  { forms, catalog, logger }: Context,
  refs: readonly GenerationRef[],
): Promise<void> {
  for (const { serviceId, generationId } of refs) {
    const record = catalog.findGeneration(serviceId, generationId)
    if (forms === null || record === null) continue
    if (await forms.distrust(record.plan, 'a serving process crashed with it')) {
      logger.warn({ serviceId, generationId }, 'its compiled form is not used any more')
    }
  }
}

/** At a start nobody makes one, so those that were never finished go too. */
export async function recoverForms(forms: CompiledForms, catalog: Catalog): Promise<number> {
  const removed = await forms.removeUnused(new Set(keysOf(forms, generations(catalog))))
  await forms.look()
  return removed.length
}

/** For each model of a generation; null: this node compiles none. */
export function formViews(
  { forms }: Context,
  record: GenerationRecord,
): readonly FormView[] | null {
  return forms === null ? null : forms.view(record.plan)
}

function isBusy({ imports, forging }: Context): boolean {
  return imports.count > 0 || !forging.isIdle
}

interface Next {
  readonly record: GenerationRecord
  readonly needed: ReadonlySet<string>
}

/** For what receives no traffic nothing else is removed. */
function nextMissing(context: Context, forms: CompiledForms): Next | null {
  const first = mapped(context)
  const all = generations(context.catalog)
  const isMissing = (record: GenerationRecord): boolean =>
    needsOf(record).hasWeights && forms.isMissing(record.plan)
  const urgent = first.find(isMissing)
  if (urgent !== undefined) return { record: urgent, needed: new Set(keysOf(forms, first)) }
  const other = all.toReversed().find((record) => isUsable(context, record) && isMissing(record))
  return other === undefined ? null : { record: other, needed: new Set(keysOf(forms, all)) }
}

function generations(catalog: Catalog): GenerationRecord[] {
  return catalog.services().flatMap(({ id }) => catalog.generations(id))
}

/** Those that receive traffic, or are in memory for another reason. */
function mapped(context: Context): GenerationRecord[] {
  const { catalog, publisher } = context
  const wanted = new Set(
    [...publisher.residents.needed(), ...publisher.residents.kept()].map(refKey),
  )
  for (const { id: serviceId, enabled, mapping } of catalog.services()) {
    if (!enabled) continue
    for (const { generationId } of mapping) wanted.add(refKey({ serviceId, generationId }))
  }
  return generations(catalog).filter((record) => {
    const ref = { serviceId: record.serviceId, generationId: record.id }
    return wanted.has(refKey(ref)) && isUsable(context, record)
  })
}

function isUsable({ catalog }: Context, { serviceId, id }: GenerationRecord): boolean {
  return catalog.quarantined(serviceId, id) === null && catalog.damaged(serviceId, id) === null
}

function keysOf(forms: CompiledForms, records: readonly GenerationRecord[]): string[] {
  const heavy = records.filter((record) => needsOf(record).hasWeights)
  return heavy.flatMap(({ plan }) => forms.keysOf(plan))
}
