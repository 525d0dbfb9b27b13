// What of Apache ECharts goes into echarts.min.js; NOTICE.md says how it is made.
import * as echarts from 'echarts/core';
import { ParallelChart, ScatterChart, LineChart, HeatmapChart, BarChart } from 'echarts/charts';
import { GridComponent, ParallelComponent, TooltipComponent, VisualMapContinuousComponent, LegendComponent, LegendScrollComponent, DataZoomInsideComponent, AriaComponent } from 'echarts/components';
import { CanvasRenderer } from 'echarts/renderers';
echarts.use([ParallelChart, ScatterChart, LineChart, HeatmapChart, BarChart, GridComponent, ParallelComponent, TooltipComponent, VisualMapContinuousComponent, LegendComponent, LegendScrollComponent, DataZoomInsideComponent, AriaComponent, CanvasRenderer]);
window.echarts = { init: echarts.init };
