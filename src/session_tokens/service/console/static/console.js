// The console's own script: charts, the theme, how times are written, copying, ticking, and the keys.
// Everything works without it but these.
"use strict";

(() => {
    const charts = new Map();
    const root = document.documentElement;
    root.classList.add("scripted");

    function colour(name) {
        return getComputedStyle(root).getPropertyValue(name).trim();
    }

    function keep(name, value) {
        document.cookie = `console-${name}=${value}; path=/console; max-age=31536000; samesite=strict`;
    }

    // --- charts ---

    function draw() {
        for (const [id, chart] of charts) {
            if (!document.body.contains(chart.root)) { chart.destroy(); charts.delete(id); }
        }
        for (const box of document.querySelectorAll("[data-chart]")) {
            if (charts.has(box.id) || typeof uPlot === "undefined") continue;
            const { names, data } = JSON.parse(box.dataset.chart);
            const lines = [
                { stroke: colour("--accent"), fill: colour("--accent") + "22" },
                { stroke: colour("--warm"), dash: [6, 4] },
                { stroke: colour("--good"), dash: [2, 3] },
            ];
            const axis = {
                stroke: colour("--muted"), font: "12px system-ui, sans-serif",
                grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 },
            };
            const zone = root.dataset.times === "local" ? undefined : "UTC";
            const options = {
                width: Math.max(200, box.clientWidth),
                height: 170,
                cursor: { show: false },
                legend: { show: false },
                tzDate: (at) => (zone ? uPlot.tzDate(new Date(at * 1000), zone) : new Date(at * 1000)),
                scales: { y: { range: (_, low, high) => [0, Math.max(4, high * 1.1)] } },
                axes: [
                    { ...axis, size: 32, space: 60, values: "{HH}:{mm}", label: zone ? "UTC" : "time here", labelSize: 16, labelGap: 0, labelFont: axis.font },
                    { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10000],
                        label: "per minute", labelSize: 18, labelFont: axis.font },
                ],
                series: [{}, ...names.map((label, at) => ({ label, width: 2, points: { show: false }, ...lines[at] }))],
            };
            charts.set(box.id, new uPlot(options, data, box));
        }
    }

    function drawAnew() {
        for (const [id, chart] of charts) { chart.destroy(); charts.delete(id); }
        draw();
    }

    function toggleTheme() {
        const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
        root.dataset.theme = dark ? "light" : "dark";
        keep("theme", root.dataset.theme);
        drawAnew();
    }

    // --- times ---

    function inUtc(date) {
        return date.toISOString().slice(0, 19).replace("T", " ") + " UTC";
    }

    function here(date) {
        const two = (number) => String(number).padStart(2, "0");
        const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
        const away = -date.getTimezoneOffset(), hours = Math.floor(Math.abs(away) / 60);
        const zone = `UTC${away < 0 ? "−" : "+"}${two(hours)}:${two(Math.abs(away) % 60)}`;
        return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} ${zone}`;
    }

    function writeTimes() {
        const times = root.dataset.times;
        for (const each of document.querySelectorAll("time[datetime]")) {
            const date = new Date(each.getAttribute("datetime"));
            const exact = times === "local" ? here(date) : inUtc(date);
            each.textContent = times === "ago" && each.dataset.ago ? each.dataset.ago : exact;
            if (each.dataset.ago) each.title = exact;
        }
    }

    // --- copying and ticking ---

    async function copy(button) {
        try {
            await navigator.clipboard.writeText(button.dataset.copy);
            button.textContent = "Copied";
        } catch {
            button.textContent = "Not copied";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
    }

    document.addEventListener("click", (event) => {
        const button = event.target.closest("[data-copy]");
        if (button) copy(button);
        if (event.target.closest("#show-keys")) showKeys();
        if (event.target.closest("#theme")) toggleTheme();
    });
    document.addEventListener("change", (event) => {
        if (event.target.id === "tick-all") {
            for (const box of document.querySelectorAll("#bulk input[name=id]")) box.checked = event.target.checked;
        }
        if (event.target.id === "times") {
            root.dataset.times = event.target.value;
            keep("times", event.target.value);
            writeTimes();
            drawAnew();
        }
    });

    // --- keys ---

    const places = {
        o: "/console", s: "/console/sessions", w: "/console/owners", t: "/console/tokens", u: "/console/unassigned",
        e: "/console/explain",
    };

    function showKeys() {
        const dialog = document.getElementById("keys");
        if (dialog && !dialog.open) dialog.showModal();
    }

    document.addEventListener("keydown", (event) => {
        // A dialog that was just closed has the focus until the next frame, and so gets the next key.
        if (event.target.closest("input, textarea, select, dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
        const page = { n: "next-page", p: "previous-page" }[event.key];
        if (event.key === "/") { event.preventDefault(); document.getElementById("find")?.focus(); }
        else if (event.key === "?") { showKeys(); }
        else if (page) { document.getElementById(page)?.click(); }
        else if (places[event.key] && document.getElementById("find")) { location.assign(places[event.key]); }
    });

    function settle() { writeTimes(); draw(); }

    document.addEventListener("DOMContentLoaded", settle);
    document.addEventListener("htmx:afterSettle", settle);
    window.addEventListener("resize", () => {
        for (const chart of charts.values()) {
            chart.setSize({ width: Math.max(200, chart.root.parentElement.clientWidth), height: 170 });
        }
    });
})();
