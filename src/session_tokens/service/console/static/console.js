// The console's own script: charts, the theme, and the keys. Everything works without it but these.
"use strict";

(() => {
    const charts = new Map();

    function colour(name) {
        return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    }

    function draw() {
        for (const [id, chart] of charts) {
            if (!document.body.contains(chart.root)) { chart.destroy(); charts.delete(id); }
        }
        for (const box of document.querySelectorAll("[data-chart]")) {
            if (charts.has(box.id) || typeof uPlot === "undefined") continue;
            const { names, data } = JSON.parse(box.dataset.chart);
            const colours = [colour("--accent"), colour("--warm")];
            const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
            const options = {
                width: Math.max(200, box.clientWidth),
                height: 140,
                cursor: { y: false },
                legend: { show: false },
                scales: { y: { range: (_, low, high) => [0, Math.max(4, high)] } },
                axes: [axis, { ...axis, size: 36 }],
                series: [{}, ...names.map((label, at) => ({
                    label, stroke: colours[at], width: 2, fill: at ? undefined : colours[at] + "22", points: { show: false },
                }))],
            };
            charts.set(box.id, new uPlot(options, data, box));
        }
    }

    function toggleTheme() {
        const dark = document.documentElement.dataset.theme
            ? document.documentElement.dataset.theme === "dark"
            : matchMedia("(prefers-color-scheme: dark)").matches;
        const theme = dark ? "light" : "dark";
        document.documentElement.dataset.theme = theme;
        document.cookie = `console-theme=${theme}; path=/console; max-age=31536000; samesite=strict`;
        for (const [id, chart] of charts) { chart.destroy(); charts.delete(id); }
        draw();
    }

    document.addEventListener("DOMContentLoaded", () => {
        document.getElementById("theme")?.addEventListener("click", toggleTheme);
        draw();
    });
    document.addEventListener("htmx:afterSettle", draw);
    window.addEventListener("resize", () => {
        for (const chart of charts.values()) {
            chart.setSize({ width: Math.max(200, chart.root.parentElement.clientWidth), height: 140 });
        }
    });
    document.addEventListener("keydown", (event) => {
        if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "/") { event.preventDefault(); document.getElementById("find")?.focus(); }
        if (event.key === "o") location.assign("/console");
        if (event.key === "s") location.assign("/console/sessions");
        if (event.key === "t") location.assign("/console/tokens");
    });
})();
