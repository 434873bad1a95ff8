/** What the API sends: the console's side of src/headrace/ui and src/headrace/api. */

export interface Text {
  zh: string
  en: string
}

/** JSON has no NaN, infinities or integers beyond 2^53: those come as strings. */
export type Value = number | boolean | string | null

export type Topic = 'values' | 'alarms' | 'gateway' | 'summary'

export interface Query {
  path: string
  pick?: string
  params?: Record<string, string>
  topic?: Topic | null
  every_ms?: number
}

export type Format = 'count' | 'number' | 'rate' | 'percent' | 'bytes' | 'duration_ms' | 'text'

interface WidgetBase {
  span?: number
  title?: Text | null
}

export interface Stat {
  field: string
  title: Text
  format?: Format
  unit?: string
  attention?: number | null
  attention_below?: number | null
  help?: Text | null
  link?: string
}

export type CellKind =
  | 'title'
  | 'value'
  | 'bar'
  | 'sparkline'
  | 'quality'
  | 'time'
  | 'name'
  | 'source'
  | 'write'

export interface StatsWidget extends WidgetBase {
  type: 'stats'
  query: Query
  items: Stat[]
}
export interface LineMimicWidget extends WidgetBase {
  type: 'line-mimic'
  query: Query
  link: string
}
export interface MachineCardsWidget extends WidgetBase {
  type: 'machine-cards'
  query: Query
  link: string
}
export interface MachineHeaderWidget extends WidgetBase {
  type: 'machine-header'
  query: Query
  neighbours: Query
  link: string
}
export interface TagTableWidget extends WidgetBase {
  type: 'tag-table'
  query: Query
  columns: { kind: CellKind }[]
  group_by_part: boolean
  search: boolean
  sparkline: string
  link: string
}
export interface WriteControlWidget extends WidgetBase {
  type: 'write-control'
  query: Query
  post: string
}
export interface TrendWidget extends WidgetBase {
  type: 'trend'
  query: Query
  tags: string
  start: string
  end: string
  span_default: string
  presets: string[]
  points: number
  most_tags: number
  picker: Query
  export: Query
  gaps: Query
  height: number
}
export type AlarmAction = 'acknowledge' | 'shelve' | 'unshelve'
export interface AlarmListWidget extends WidgetBase {
  type: 'alarm-list'
  query: Query
  actions: AlarmAction[]
  filters: ('state' | 'priority' | 'machine')[]
  history: string
  page: number
  compact: boolean
  link: string
}
export interface GatewayHealthWidget extends WidgetBase {
  type: 'gateway-health'
  query: Query
  plan: string
}
export interface WriteAuditWidget extends WidgetBase {
  type: 'write-audit'
  query: Query
  page: number
}
export interface HistoryStatsWidget extends WidgetBase {
  type: 'history-stats'
  query: Query
}
export interface TextWidget extends WidgetBase {
  type: 'text'
  body: Text
}

export type Widget =
  | StatsWidget
  | LineMimicWidget
  | MachineCardsWidget
  | MachineHeaderWidget
  | TagTableWidget
  | WriteControlWidget
  | TrendWidget
  | AlarmListWidget
  | GatewayHealthWidget
  | WriteAuditWidget
  | HistoryStatsWidget
  | TextWidget

export interface ScreenEntry {
  id: string
  path: string
  title: Text
  icon: string
  order: number
  menu?: boolean
}

export interface Screen extends ScreenEntry {
  params?: { name: string; place?: 'path' | 'query'; many?: boolean }[]
  rows: { widgets: Widget[] }[]
}

export interface Node {
  name: string
  profile: string
  title: Text | null
  timezone: string
  version: string
}

export interface Session {
  signed_in: boolean
  user: string | null
  node: Node
}

export type Priority = 'urgent' | 'high' | 'medium' | 'low'
export type MachineState = 'ok' | 'stale' | 'bad' | 'alarm'

export interface Machine {
  id: string
  title: Text | null
  kind: string
  order: number
  /** it serves the line and is no step of it */
  beside: boolean
  state: MachineState
  tags: number
  bad: number
  alarms: number
  worst_priority: Priority | null
  updated: string | null
}

export type Kind = 'f64' | 'i64' | 'u64' | 'bool' | 'text'

/** An alarm limit on a tag, where an alarm compares the tag with a constant. */
export interface Limit {
  value: number
  side: 'high' | 'low'
  priority: Priority
  alarm: string
}

export interface TagView {
  name: string
  id: number
  kind: Kind
  title: Text | null
  unit: string
  machine: string
  source: string
  writable: boolean
  low: number | null
  high: number | null
  value: Value
  quality: number
  time: string | null
  active: boolean
  limits: Limit[]
}


export type AlarmStateName = 'normal' | 'active-unack' | 'active-ack' | 'cleared-unack' | 'shelved'

export interface AlarmView {
  id: string
  title: Text | null
  priority: Priority
  state: AlarmStateName
  when: string
  /** what the operator should do */
  advice: Text | null
  machine: string | null
  /** the first tag of the condition; `value` and `unit` are its */
  tag: string | null
  value: Value
  unit: string
  /** the condition can be judged: its tags have values */
  known: boolean
  since: string | null
  /** the condition holds, also while shelved */
  active: boolean
  acknowledged_by: string | null
  acknowledged_at: string | null
  shelved_until: string | null
  shelved_by: string | null
  note: string
}

/** A condition part by part: `decides` where the outcome of the whole hangs on it. */
export interface Step {
  text: string
  type: string
  value: Value
  unit: string
  /** of a tag */
  quality: number | null
  /** of a tag, ns since the epoch */
  time: number | null
  decides: boolean
  parts: Step[]
}

/** GET /alarms/{id}/explanation */
export interface AlarmExplanation {
  alarm: AlarmView
  version: number
  defined: string | null
  because: Step | null
}

export interface Page<T> {
  items: T[]
  total: number
}

export interface SeriesOne {
  tag: string
  raw: boolean
  time: number[]
  value?: Value[]
  min?: Value[]
  max?: Value[]
  mean?: Value[]
  quality?: number[]
  count?: number[]
}

export interface SeriesAnswer {
  from: string | number
  to: string | number
  every_ms: number | null
  series: SeriesOne[]
}

export interface AlarmEvent {
  time: string
  before: AlarmStateName
  after: AlarmStateName
  by: string | null
  note: string
  value: Value
}

export interface WriteResult extends Text {
  tag: string
  ok: boolean
  readback: Value
  time: string | null
  code: string
}

export interface WriteAnswer {
  id: string
  results: WriteResult[]
}

export interface WriteEntry extends Text {
  id: string
  request: string
  time: string
  by: string
  reason: string
  tag: string
  machine: string
  value: Value
  before: Value
  ok: boolean
  readback: Value
  code: string
}

export interface Gap {
  from: string | number
  to: string | number
  seconds: number
}

export interface PlanRequest {
  area: string
  start: number
  length: number
  tags: number
  gap_units: number
  every_ms: number
}

export interface Plan {
  requests: PlanRequest[]
  tags: number
  one_per_tag: number
  ratio: number
}

export interface Group {
  every_ms: number
  tags: number
  requests: number
  cycle_ms: { last: number | null; p50: number | null; p95: number | null; max: number | null }
  cycles: number
  skips: number
  overruns: number
}

export interface Connection {
  name: string
  title: Text | null
  driver: string
  state: 'connected' | 'connecting' | 'backoff' | 'offline'
  endpoint: string
  error: (Text & { code: string }) | null
  since: string | number | null
  groups: Group[]
  values_per_s: number
  reads: number
  faults: number
  bad_tags: number
  isolated: string[]
  reconnects: number
  writes: number
  /** how many times as many requests one per tag would take */
  requests_saved_ratio: number
}

export interface Edge {
  source: string
  updated: string | number | null
  buffer: {
    depth_messages: number
    depth_bytes: number
    quota_bytes: number
    oldest_ms: number | null
    dropped: number
    /** why the disk takes nothing; empty while it does */
    fault?: string
  }
  bus?: 'up' | 'down'
  published: number
  lag_ms: number | null
  connections: Connection[]
}

export interface Gateway {
  edges: Edge[]
  ingest: Record<string, unknown> | null
  bus: Record<string, unknown> | null
  history: Record<string, unknown> | null
}

/** GET /machines/{id}: the machine, with its tags in place of their number and the titles of its parts. */
export interface MachineDetail extends Omit<Machine, 'tags'> {
  parts: Record<string, Text>
  tags: TagView[]
}
