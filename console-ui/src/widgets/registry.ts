/** Widget types by the name the server gives them. What draws charts comes when it is first needed. */
import { defineAsyncComponent, type Component } from 'vue'
import type { Widget } from '@/api/types'
import AlarmList from './AlarmList.vue'
import LineMimic from './LineMimic.vue'
import MachineCards from './MachineCards.vue'
import MachineHeader from './MachineHeader.vue'
import Stats from './Stats.vue'
import TagTable from './TagTable.vue'
import TextBlock from './TextBlock.vue'
import WriteAudit from './WriteAudit.vue'
import WriteControl from './WriteControl.vue'

const COMPONENTS: Record<Widget['type'], Component> = {
  stats: Stats,
  'line-mimic': LineMimic,
  'machine-cards': MachineCards,
  'machine-header': MachineHeader,
  'tag-table': TagTable,
  'write-control': WriteControl,
  'alarm-list': AlarmList,
  'write-audit': WriteAudit,
  text: TextBlock,
  trend: defineAsyncComponent(() => import('./Trend.vue')),
  'gateway-health': defineAsyncComponent(() => import('./GatewayHealth.vue')),
  'history-stats': defineAsyncComponent(() => import('./HistoryStats.vue')),
}

export function component(type: string): Component | undefined {
  return (COMPONENTS as Record<string, Component>)[type]
}
