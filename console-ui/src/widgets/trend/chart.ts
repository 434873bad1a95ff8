/**
 * The chart: ECharts on a canvas, one axis a unit, hatched stretches where values are not to be trusted.
 *
 * ECharts knows local time or UTC; the plant's zone may be neither. Moments are therefore shifted by the
 * zone's offset and drawn as UTC; `toTime` shifts back. One offset serves a whole view.
 */
import { LineChart } from 'echarts/charts'
import { AxisPointerComponent, GridComponent, MarkAreaComponent, MarkLineComponent } from 'echarts/components'
import * as echarts from 'echarts/core'
import { CanvasRenderer } from 'echarts/renderers'
import type { Limit } from '@/api/types'
import type { Lang } from '@/state/prefs'
import { token } from '@/state/naive'
import type { Curve, Point, Stretch } from './curves'
import type { Range } from './range'

echarts.use([LineChart, GridComponent, AxisPointerComponent, MarkAreaComponent, MarkLineComponent, CanvasRenderer])

export const COLOURS = 8
const DASHES = ['solid', [6, 3], [2, 3]] as const

/** How curve number `index` is drawn: eight colours, then the same with dashes. */
export function style(index: number): { colour: string; dash: 'solid' | number[] } {
  const dash = DASHES[Math.floor(index / COLOURS) % DASHES.length] ?? 'solid'
  return { colour: token(`curve-${(index % COLOURS) + 1}`), dash: dash === 'solid' ? 'solid' : [...dash] }
}

export interface Drawn {
  curve: Curve
  index: number
  title: string
  /** as people read it, and as the axis is named; `bytes`: the numbers of the axis carry their own scale */
  unit: string
  bytes: boolean
  step: boolean
  onOff: boolean
  limits: Limit[]
  hidden: boolean
}

export interface Scene {
  range: Range
  curves: Drawn[]
  offset: number
  lang: Lang
  number: (value: number) => string
  bytes: (value: number) => string
  onOff: (on: boolean) => string
  clock: (ms: number) => string
}

const AXIS_WIDTH = 58

export class TrendChart {
  private readonly chart: echarts.ECharts
  private offset = 0

  constructor(element: HTMLElement, lang: Lang) {
    this.chart = echarts.init(element, null, { locale: lang === 'zh' ? 'ZH' : 'EN' })
  }

  dispose(): void {
    this.chart.dispose()
  }

  resize(): void {
    this.chart.resize()
  }

  /** The moment under a horizontal pixel of the chart. */
  toTime(x: number): number {
    const at = this.chart.convertFromPixel({ xAxisIndex: 0 }, x) as unknown as number
    return at - this.offset
  }

  /** Left and right edge of the plot, in pixels of the chart. */
  edges(range: Range): [number, number] {
    const at = (t: number): number =>
      this.chart.convertToPixel({ xAxisIndex: 0 }, t + this.offset) as unknown as number
    return [at(range.from), at(range.to)]
  }

  /** Moves the axis at once, before what lies there has been asked for. */
  glide(range: Range): void {
    this.chart.setOption({ xAxis: { min: range.from + this.offset, max: range.to + this.offset } })
  }

  draw(scene: Scene): void {
    this.offset = scene.offset
    const units = [...new Set(scene.curves.filter((c) => !c.hidden).map((c) => (c.onOff ? '' : c.unit)))]
    if (units.length === 0) units.push('')
    const left = Math.ceil(units.length / 2)
    const right = units.length - left
    const [ink, quiet, line] = [token('text-2'), token('text-3'), token('line')]
    const font = token('font')
    this.chart.setOption(
      {
        useUTC: true,
        animation: false,
        backgroundColor: 'transparent',
        textStyle: { fontFamily: font },
        grid: {
          top: 34,
          bottom: 34,
          left: Math.max(1, left) * AXIS_WIDTH,
          right: Math.max(right * AXIS_WIDTH, 24),
        },
        axisPointer: {
          link: [{ xAxisIndex: 'all' }],
          label: {
            backgroundColor: token('text'),
            color: token('surface'),
            fontFamily: font,
            formatter: ({ value }: { value: number }) => scene.clock(value - scene.offset),
          },
        },
        xAxis: {
          type: 'time',
          min: scene.range.from + scene.offset,
          max: scene.range.to + scene.offset,
          axisLine: { lineStyle: { color: quiet } },
          axisLabel: {
            color: quiet,
            hideOverlap: true,
            formatter: {
              year: '{yyyy}',
              month: '{yyyy}-{MM}',
              day: '{MM}-{dd}',
              hour: '{HH}:{mm}',
              minute: '{HH}:{mm}',
              second: '{HH}:{mm}:{ss}',
              millisecond: '{mm}:{ss}.{SSS}',
              none: '{MM}-{dd} {HH}:{mm}',
            },
          },
          splitLine: { show: true, lineStyle: { color: line, opacity: 0.7 } },
          axisPointer: {
            show: true,
            type: 'line',
            snap: false,
            triggerTooltip: false,
            lineStyle: { color: ink, type: 'dashed' },
          },
        },
        yAxis: units.map((unit, i) => {
          const onOff = scene.curves.some((c) => !c.hidden && c.onOff) && unit === '' &&
            scene.curves.filter((c) => !c.hidden && (c.onOff ? '' : c.unit) === '').every((c) => c.onOff)
          const bytes = scene.curves.some((c) => c.bytes && c.unit === unit)
          return {
            type: 'value',
            name: unit,
            nameTextStyle: { color: ink, align: i % 2 === 0 ? 'right' : 'left', fontWeight: 600 },
            nameGap: 12,
            position: i % 2 === 0 ? 'left' : 'right',
            offset: Math.floor(i / 2) * AXIS_WIDTH,
            scale: true,
            ...(onOff ? { min: 0, max: 1, interval: 1 } : { min: floor }),
            boundaryGap: onOff ? [0, 0] : ['6%', '6%'],
            axisLine: { show: true, lineStyle: { color: quiet } },
            axisLabel: {
              color: quiet,
              formatter: (value: number) =>
                onOff ? scene.onOff(value === 1) : bytes ? scene.bytes(value) : scene.number(value),
            },
            splitLine: { show: i === 0, lineStyle: { color: line, opacity: 0.7 } },
            axisPointer: { show: false },
          }
        }),
        series: scene.curves
          .filter((c) => !c.hidden)
          .flatMap((c) => this.series(c, units.indexOf(c.onOff ? '' : c.unit), scene)),
      },
      { replaceMerge: ['series', 'yAxis'] },
    )
  }

  private series(drawn: Drawn, axis: number, scene: Scene): object[] {
    const { colour, dash } = style(drawn.index)
    const shift = (points: readonly Point[]): Point[] => points.map(([t, v]) => [t + scene.offset, v])
    const common = {
      type: 'line',
      yAxisIndex: axis,
      silent: true,
      symbol: 'none',
      animation: false,
      ...(drawn.step ? { step: 'end' } : {}),
    }
    const out: object[] = []
    if (drawn.curve.band !== null) {
      const stack = { ...common, stack: `band-${drawn.index}`, stackStrategy: 'all', lineStyle: { opacity: 0 } }
      out.push(
        { ...stack, id: `${drawn.curve.tag}#low`, data: shift(drawn.curve.band.low) },
        {
          ...stack,
          id: `${drawn.curve.tag}#height`,
          data: shift(drawn.curve.band.height),
          areaStyle: { color: colour, opacity: 0.16 },
        },
      )
    }
    // points that stand alone (between two gaps) would be no line: few enough points show their dots
    const dots = drawn.curve.line.length <= 60
    out.push({
      ...common,
      ...(dots ? { symbol: 'circle', symbolSize: 4, showSymbol: true } : {}),
      id: drawn.curve.tag,
      name: drawn.title,
      data: shift(drawn.curve.line),
      itemStyle: { color: colour },
      lineStyle: { color: colour, width: 1.6, type: dash },
      markArea: { silent: true, data: areas(marked(drawn, scene), scene.offset) },
      markLine: {
        silent: true,
        symbol: 'none',
        animation: false,
        data: drawn.limits.map((limit) => ({
          yAxis: limit.value,
          lineStyle: { color: token(limit.priority), type: [4, 4], width: 1.2 },
          label: {
            formatter: drawn.bytes ? scene.bytes(limit.value) : scene.number(limit.value),
            color: token(limit.priority),
            // high limits are written above their line and low ones below: two close ones stay apart
            position: limit.side === 'high' ? 'insideEndTop' : 'insideEndBottom',
            fontFamily: token('font'),
          },
        })),
      },
    })
    return out
  }
}

/** Room below the least value, but none below zero for what never is below zero. */
function floor({ min, max }: { min: number; max: number }): number | null {
  const room = (max - min) * 0.06
  return min >= 0 && min - room <= 0 ? 0 : null
}

/** What to hatch for a curve: a tag without one number in view would only hide the curves of the others. */
function marked(drawn: Drawn, scene: Scene): readonly Stretch[] {
  const others = scene.curves.some((c) => c !== drawn && !c.hidden && c.curve.figures.min !== null)
  return drawn.curve.figures.min === null && others ? [] : drawn.curve.stretches
}

/** Stretches as mark areas; very many are joined, as they could not be told apart anyway. */
function areas(stretches: readonly Stretch[], offset: number): object[] {
  return stretches.slice(0, 400).map((s) => [
    { xAxis: s.from + offset, itemStyle: { color: hatch(s.what) } },
    { xAxis: Math.max(s.to, s.from + 1) + offset },
  ])
}

const patterns = new Map<string, HTMLCanvasElement>()

/** bad: strokes one way, uncertain: the other way and fainter, gap: dots. Told apart without colour. */
export function hatch(what: Stretch['what']): { image: HTMLCanvasElement; repeat: 'repeat' } {
  const colour = what === 'bad' ? token('bad') : token('text-3')
  const key = `${what}/${colour}`
  let canvas = patterns.get(key)
  if (canvas === undefined) {
    canvas = document.createElement('canvas')
    canvas.width = canvas.height = 8
    const pen = canvas.getContext('2d')
    if (pen !== null) {
      pen.strokeStyle = pen.fillStyle = colour
      pen.globalAlpha = what === 'bad' ? 0.42 : 0.34
      pen.lineWidth = 1.2
      pen.beginPath()
      if (what === 'gap') {
        pen.arc(4, 4, 1, 0, 7)
        pen.fill()
      } else {
        for (const x of [-8, 0, 8]) {
          pen.moveTo(what === 'bad' ? x : x + 8, 8)
          pen.lineTo(what === 'bad' ? x + 8 : x, 0)
        }
        pen.stroke()
      }
    }
    patterns.set(key, canvas)
  }
  return { image: canvas, repeat: 'repeat' }
}
