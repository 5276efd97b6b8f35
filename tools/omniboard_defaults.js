// Put into Omniboard's page by tools/omniboard.sh, before its own script: what is shown at first, where this browser has chosen
// nothing yet. Omniboard would show all columns, some eighty, those of the algorithm out of sight, and all metrics in one plot.
(() => {
  const SHOWN = {
    _id: 70, experiment_name: 180, c_name: 130, c_env: 130, c_seed: 80, result: 150,
    status: 130, start_time: 170, duration: 110, tags: 200, notes: 200,
  };
  const STORED = { // where the database keeps what has another name in the list
    experiment_name: "experiment.name", hostname: "host.hostname", tags: "omniboard.tags", notes: "omniboard.notes",
  };
  const HIDDEN = ["heartbeat", "stop_time", "command", "hostname", "resources", "format"];
  const METRIC = "test_return_mean";
  const label = (key) => key.split("_").map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(" ");

  const choose = (key, make) => {
    const made = localStorage.getItem(key) === null ? make() : null;
    if (made !== null) localStorage.setItem(key, JSON.stringify(made));
  };

  const get = (path) => {
    const request = new XMLHttpRequest();
    const place = location.pathname.replace(/\/$/, "");
    request.open("GET", `${place}/api/v1/${path}`, false); // at once: the page's script runs after this one
    request.send();
    return JSON.parse(request.responseText);
  };

  try {
    choose("undefined|MetricsPlotView|default", () => ({ // Omniboard 2.16.1 forgets the database's name here
      metricNameOptions: [{ label: METRIC, value: METRIC, selected: true }],
    }));
    choose(`${get("database").key}|RunsTable|1`, () => {
      const configured = get("Runs?limit=200&select=config").flatMap((run) => Object.keys(run.config ?? {}));
      if (configured.length === 0) return null; // no run yet, whose keys could be chosen
      const keys = new Set([...Object.keys(SHOWN), ...HIDDEN, ...configured.map((key) => `c_${key}`)]);
      return {
        dropdownOptions: [...keys].map((key) => ({ label: label(key), value: key, selected: key in SHOWN })),
        columnOrder: Object.keys(SHOWN),
        columnNameMap: { ...Object.fromEntries(configured.map((key) => [`c_${key}`, `config.${key}`])), ...STORED },
        columnWidths: Object.fromEntries([...keys].map((key) => [key, SHOWN[key] ?? 150])),
      };
    });
  } catch (error) {
    console.error(error); // Omniboard's own defaults
  }
})();
