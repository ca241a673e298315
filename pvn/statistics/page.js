// Draws the charts of a report with uPlot, and opens the list of rows that a link leads to.
"use strict";
(() => {
  const COLOURS = 7, DASHES = [[], [8, 5], [2, 4], [8, 4, 2, 4]], PUBLISHED = [[7, 4], [2, 3]];
  const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
  const HINT = "point at a curve for its values; drag to zoom, click a name to hide it";
  const short = new Intl.NumberFormat("en-US", {maximumSignificantDigits: 4});
  const ticks = new Intl.NumberFormat("en-US", {notation: "compact", maximumSignificantDigits: 4});

  function styled(series) {
    const name = series.published ? `--published-${series.style % 2}` : `--c${series.style % COLOURS}`;
    const number = Math.floor(series.style / COLOURS) % DASHES.length;
    return {colour: colourOf(name).trim(), dash: series.published ? PUBLISHED[series.style % 2] : DASHES[number]};
  }

  // The range of all visible series with their intervals.
  function extent(plot, chart) {
    let low = Infinity, high = -Infinity;
    chart.series.forEach((series, number) => {
      if (!plot.series[number + 1].show) return;
      for (const key of ["y", "low", "high"]) {
        series[key].forEach((value) => {
          if (value === null) return;
          low = Math.min(low, value);
          high = Math.max(high, value);
        });
      }
    });
    if (low > high) return [0, 1];
    const margin = (high - low || Math.abs(high) || 1) * 0.06;
    return [low - margin, high + margin];
  }

  // Bands of intervals behind the lines; whiskers for points and for published curves.
  function intervals(plot, chart) {
    const context = plot.ctx;
    context.save();
    context.beginPath();
    context.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
    context.clip();
    chart.series.forEach((series, number) => {
      if (!plot.series[number + 1].show) return;
      const at = (value, i) => [plot.valToPos(chart.x[i], "x", true), plot.valToPos(value, "y", true)];
      const known = [...chart.x.keys()].filter((i) => series.low[i] !== null);
      context.fillStyle = context.strokeStyle = styled(series).colour;
      context.beginPath();
      if (chart.points || series.published) {
        context.globalAlpha = 0.6;
        context.lineWidth = 1.5 * devicePixelRatio;
        for (const i of known) {
          context.moveTo(...at(series.low[i], i));
          context.lineTo(...at(series.high[i], i));
        }
        context.stroke();
      } else {
        context.globalAlpha = 0.18;
        known.forEach((i) => context.lineTo(...at(series.low[i], i)));
        [...known].reverse().forEach((i) => context.lineTo(...at(series.high[i], i)));
        context.fill();
      }
    });
    context.restore();
  }

  // The nearest index at which a series has a value.
  function nearest(plot, number, hovered) {
    const values = plot.data[number];
    if (number === 0 || values[hovered] !== null) return hovered;
    const x = plot.data[0];
    let best = null;
    values.forEach((value, i) => {
      if (value === null) return;
      if (best === null || Math.abs(x[i] - x[hovered]) < Math.abs(x[best] - x[hovered])) best = i;
    });
    return best === null ? hovered : best;
  }

  function written(chart, series, i) {
    if (i === null || series.y[i] === null) return "";
    const ends = series.low[i] === null ? "" : ` [${short.format(series.low[i])}, ${short.format(series.high[i])}]`;
    const name = series.names ? `${series.names[i]} (${short.format(chart.x[i])}): ` : "";
    return name + short.format(series.y[i]) + ends;
  }

  function options(chart, width) {
    const ink = colourOf("--soft").trim(), grid = {stroke: colourOf("--grid").trim(), width: 1};
    const axis = {stroke: ink, grid, ticks: grid, font: "12px system-ui", labelFont: "13px system-ui"};
    const lines = chart.series.map((series) => {
      const {colour, dash} = styled(series);
      const count = series.y.filter((value) => value !== null).length;
      return {
        label: series.label, stroke: colour, dash, width: series.published ? 1.5 : 2,
        spanGaps: true, paths: chart.points ? () => null : undefined,
        points: {show: chart.points || count <= 30, size: chart.points ? 9 : series.published ? 8 : 6, fill: colour},
        value: (plot, value, number, i) => written(chart, series, i),
      };
    });
    return {
      width, height: Math.round(Math.max(220, Math.min(width * 0.56, 360))),
      scales: {x: {time: false}, y: {range: (plot) => extent(plot, chart)}},
      axes: [
        {...axis, label: chart.xLabel, labelSize: 20, size: 32, values: (plot, values) => values.map((v) => ticks.format(v))},
        {...axis, label: chart.yLabel, labelSize: 22, size: 50, values: (plot, values) => values.map((v) => ticks.format(v))},
      ],
      series: [{label: chart.xLabel, value: (plot, value) => value == null ? HINT : short.format(value)}, ...lines],
      legend: {markers: {
        width: 2, dash: (plot, number) => number && chart.series[number - 1].published ? "dotted" : "solid",
        fill: (plot, number) => number && !chart.series[number - 1].published ? lines[number - 1].stroke : null,
      }},
      cursor: {dataIdx: nearest, focus: {prox: 24}, y: false},
      focus: {alpha: 0.35},
      hooks: {drawAxes: [(plot) => intervals(plot, chart)]},
    };
  }

  const drawn = [...document.querySelectorAll(".chart")].map((figure) => {
    const place = figure.querySelector("div");
    const chart = JSON.parse(figure.querySelector("script").textContent);
    const draw = () => {
      const width = place.clientWidth;
      place.replaceChildren();
      const plot = new uPlot(options(chart, width), [chart.x, ...chart.series.map((s) => s.y)], place);
      return {plot, width};
    };
    let now = draw();
    const again = () => { now.plot.destroy(); now = draw(); };
    const resized = () => { if (place.clientWidth !== now.width) again(); };
    new ResizeObserver(() => requestAnimationFrame(resized)).observe(place);
    return again;
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((again) => again()));

  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = target && target.closest("details");
    if (details && !details.open) {
      details.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();
})();
