/** Pure: what a condition names, and the explanation of an alarm as the few lines that people read. */
import type { Step } from '@/api/types'

/** The tags that a condition in the expression language names, each once. */
export function tagsOf(when: string): string[] {
  return [...new Set(when.match(/[a-z0-9_-]+(?:\/[a-z0-9_-]+)+/g) ?? [])]
}

/** A part of a condition that is judged by itself, with the tags that it reads. */
export interface Judged {
  step: Step
  tags: Step[]
}

const isTag = (step: Step): boolean => step.quality !== null

function tagsIn(step: Step): Step[] {
  const all = [step, ...step.parts.flatMap(tagsIn)].filter(isTag)
  return all.filter((one, i) => all.findIndex((other) => other.text === one.text) === i)
}

/** What `||`, `&&`, `!` and `?:` join: the conditions that compare values, or a tag that is on or off. */
export function judged(step: Step): Judged[] {
  const joined = step.parts.filter((part) => part.type === 'bool' && !isTag(part))
  const bare = step.parts.filter((part) => part.type === 'bool' && isTag(part))
  if (joined.length + bare.length === 0 || joined.length + bare.length < step.parts.length) {
    return [{ step, tags: tagsIn(step) }]
  }
  return step.parts.flatMap(judged)
}
