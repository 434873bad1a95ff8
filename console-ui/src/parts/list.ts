/** A column of ListTable. `text` is what is searched and exported, `order` what is sorted by. */
export interface Column<Row> {
  key: string
  title: string
  text?: (row: Row) => string | number
  order?: (row: Row) => string | number | null
  class?: string
  exportTitle?: string
}
