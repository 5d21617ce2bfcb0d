//! The Grafana dashboard: a row of numbers, then one chart for each declared metric, with the help of the metric.

use serde_json::{Value, json};

use crate::reference::Metric;

/// The variables of the dashboard with their queries.
const VARIABLES: [(&str, &str); 3] = [
    ("job", "label_values(switchboard_build_info, job)"),
    ("instance", r#"label_values(switchboard_build_info{job=~"$job"}, instance)"#),
    ("listener", r#"label_values(switchboard_listener_up{job=~"$job",instance=~"$instance"}, listener)"#),
];

/// The labels that select what the variables name.
const SERVER: &str = r#"job=~"$job",instance=~"$instance""#;
const LISTENER: &str = r#"job=~"$job",instance=~"$instance",listener=~"$listener""#;

/// The rows and the first parts of the names of their metrics. The last row has all other metrics.
const ROWS: [(&str, &[&str]); 6] = [
    ("Connections", &["listener_", "connections_", "sessions_", "accept_"]),
    ("Messages", &["messages_", "message_"]),
    ("Bytes", &["received_", "sent_"]),
    ("Fleet", &["fleet_"]),
    ("Recorder", &["recorder_"]),
    ("Server", &[""]),
];

/// The columns of a Grafana dashboard.
const COLUMNS: usize = 24;

pub(super) fn dashboard(metrics: &[Metric]) -> Value {
    let mut panels = Panels::default();
    for (title, unit, expression) in numbers() {
        let options = json!({"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}});
        let mut panel = panels.panel("stat", &title, unit, vec![(expression, String::new())], 4, 4);
        panel["options"] = options;
        panels.add(panel);
    }
    let row_of = |metric: &Metric| {
        let name = metric.name.trim_start_matches("switchboard_");
        ROWS.iter().position(|(_, starts)| starts.iter().any(|start| name.starts_with(start))).unwrap()
    };
    for (row, (title, _)) in ROWS.into_iter().enumerate() {
        panels.row(title);
        for metric in metrics.iter().filter(|metric| row_of(metric) == row) {
            let (title, unit, targets) = chart(metric);
            let mut panel = panels.panel("timeseries", &title, unit, targets, 8, 8);
            panel["description"] = metric.help.clone().into();
            panel["fieldConfig"]["defaults"]["custom"] = json!({"fillOpacity": 10, "showPoints": "never"});
            panel["options"] = json!({
                // The series with the highest values first: most reasons never occur.
                "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["mean", "max"], "sortBy": "Mean",
                    "sortDesc": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            });
            panels.add(panel);
        }
    }
    json!({
        "uid": "switchboard",
        "title": "Switchboard",
        "description": "Generated from the metrics that the program declares.",
        "tags": ["switchboard"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables()},
        "annotations": {"list": []},
        "panels": panels.done,
    })
}

fn variables() -> Vec<Value> {
    let source = json!({"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"});
    let of_metrics = VARIABLES.iter().map(|(name, query)| {
        json!({
            "name": name, "label": name, "type": "query", "datasource": datasource(),
            "query": {"query": query, "refId": "variable"}, "definition": query,
            "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".+",
            "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
        })
    });
    std::iter::once(source).chain(of_metrics).collect()
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// The numbers in the first row: title, unit, expression.
fn numbers() -> [(String, &'static str, String); 6] {
    let failed = format!(r#"sum(rate(switchboard_messages_total{{{LISTENER},outcome!="ok"}}[$__rate_interval]))"#);
    let messages = format!("sum(rate(switchboard_messages_total{{{LISTENER}}}[$__rate_interval]))");
    let buckets = format!("sum by (le) (rate(switchboard_message_seconds_bucket{{{LISTENER}}}[$__rate_interval]))");
    [
        ("Instances".to_owned(), "short", format!("count(switchboard_build_info{{{SERVER}}})")),
        ("Listeners down".to_owned(), "short", format!("sum(1 - switchboard_listener_up{{{LISTENER}}})")),
        ("Open connections".to_owned(), "short", format!("sum(switchboard_connections_open{{{LISTENER}}})")),
        ("Messages per second".to_owned(), "short", messages.clone()),
        ("Messages that fail or are dropped".to_owned(), "percentunit", format!("{failed} / {messages}")),
        ("99 % of replies within".to_owned(), "s", format!("histogram_quantile(0.99, {buckets})")),
    ]
}

/// The chart of a metric: title, unit, and expressions with their legends.
fn chart(metric: &Metric) -> (String, &'static str, Vec<(String, String)>) {
    let name = &*metric.name;
    let is_of_listener = metric.has_label("listener");
    let select = if is_of_listener { LISTENER } else { SERVER };
    let fixed = ["listener", "le"];
    let own = metric.labels.iter().map(|(label, _)| &**label).find(|label| !fixed.contains(label));
    let by = own.unwrap_or(if is_of_listener { "instance, listener" } else { "instance" });
    let legend = own.map_or_else(
        || if is_of_listener { "{{instance}} {{listener}}".to_owned() } else { "{{instance}}".to_owned() },
        |own| format!("{{{{{own}}}}}"),
    );
    let words = name.trim_start_matches("switchboard_").trim_end_matches("_total").replace('_', " ");
    let words = words[..1].to_uppercase() + &words[1..];
    let of_label = own.map(|own| format!(" by {own}")).unwrap_or_default();
    let is_bytes = name.contains("_bytes");
    match &*metric.kind {
        "counter" => (
            format!("{words} per second{of_label}"),
            if is_bytes { "Bps" } else { "short" },
            vec![(format!("sum by ({by}) (rate({name}{{{select}}}[$__rate_interval]))"), legend)],
        ),
        "histogram" => {
            let quantile = |(quantile, legend): (&str, &str)| {
                let buckets = format!("sum by (le, listener) (rate({name}_bucket{{{select}}}[$__rate_interval]))");
                (format!("histogram_quantile({quantile}, {buckets})"), format!("{legend} {{{{listener}}}}"))
            };
            let unit = if name.ends_with("_seconds") { "s" } else { "short" };
            (
                format!("{words} (percentiles)"),
                unit,
                [("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99")].map(quantile).into(),
            )
        }
        // The value of an info metric is always 1.
        _ if name.ends_with("_info") => {
            (format!("Instances{of_label}"), "short", vec![(format!("count by ({by}) ({name}{{{select}}})"), legend)])
        }
        _ if name.ends_with("_timestamp_seconds") => {
            let words = words.trim_end_matches(" timestamp seconds");
            let left = format!("min by ({by}) ({name}{{{select}}} - time())");
            (format!("{words} (time left)"), "s", vec![(left, legend)])
        }
        _ => {
            let unit = if is_bytes { "bytes" } else { "short" };
            (format!("{words}{of_label}"), unit, vec![(format!("sum by ({by}) ({name}{{{select}}})"), legend)])
        }
    }
}

/// The panels so far, placed from left to right.
#[derive(Default)]
struct Panels {
    done: Vec<Value>,
    x: usize,
    y: usize,
    height: usize,
}

impl Panels {
    fn panel(
        &mut self,
        kind: &str,
        title: &str,
        unit: &str,
        targets: Vec<(String, String)>,
        width: usize,
        height: usize,
    ) -> Value {
        if self.x + width > COLUMNS {
            self.next_line();
        }
        let place = json!({"x": self.x, "y": self.y, "w": width, "h": height});
        self.x += width;
        self.height = height;
        let targets: Vec<_> = targets
            .into_iter()
            .zip('A'..)
            .map(|((expression, legend), id)| {
                json!({"refId": id, "datasource": datasource(), "expr": expression, "legendFormat": legend})
            })
            .collect();
        json!({
            "id": self.done.len() + 1, "type": kind, "title": title, "datasource": datasource(), "gridPos": place,
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []}, "targets": targets,
        })
    }

    fn add(&mut self, panel: Value) {
        self.done.push(panel);
    }

    fn next_line(&mut self) {
        self.y += self.height;
        (self.x, self.height) = (0, 0);
    }

    fn row(&mut self, title: &str) {
        self.next_line();
        let place = json!({"x": 0, "y": self.y, "w": COLUMNS, "h": 1});
        self.done.push(json!({
            "id": self.done.len() + 1, "type": "row", "title": title, "collapsed": false, "gridPos": place, "panels": [],
        }));
        self.y += 1;
    }
}
