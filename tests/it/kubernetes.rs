//! The Kubernetes manifests: they fit the program, the image and each other, and their shell scripts work.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use harness::{Program, Signal, free_port, root, target, tool};
use serde_json::Value;
use switchboard::settings::DrainSettings;

use crate::socket_faults::in_namespaces;

fn path(file: &str) -> PathBuf {
    root().join("bin/packaging").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn manifest(name: &str) -> Value {
    serde_saphyr::from_str(&read(&format!("kubernetes/{name}.yaml"))).unwrap()
}

/// The files of the folder `kubernetes`.
fn manifests() -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path("kubernetes")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// The configuration of the pods.
fn configuration() -> String {
    manifest("configmap")["data"]["switchboard.toml"].as_str().unwrap().to_owned()
}

pub(crate) fn seconds(table: &toml::Table, key: &str) -> u64 {
    let default = DrainSettings::default();
    let default = if key == "announce" { default.announce } else { default.deadline };
    let set = table.get("drain").and_then(|drain| drain.get(key));
    set.map_or(default.as_secs(), |text| text.as_str().unwrap().trim_end_matches('s').parse().unwrap())
}

/// How long a server with this configuration can take to stop, with the time that the guide recommends.
pub(crate) fn stop_seconds(configuration: &str) -> u64 {
    let table = configuration.parse().unwrap();
    seconds(&table, "announce") + seconds(&table, "deadline") + 5
}

fn port(address: &Value) -> u64 {
    let address = address.as_str().unwrap();
    address.rsplit_once(':').unwrap().1.parse().unwrap_or_else(|error| panic!("{address}: {error}"))
}

#[test]
fn kubernetes_accepts_every_manifest() {
    let files = manifests();
    assert!(files.len() >= 4, "{files:?}");
    let Some(validate) = tool("kubernetes-validate") else { return };
    // CI installs it with pip in a directory of its own, and the modules are beside `bin`.
    let modules = validate.ancestors().nth(2).unwrap();
    let program = Program::at(&validate).env("PYTHONPATH", modules);
    let checked = program.args(["--strict", "--kubernetes-version", "1.37"]).args(&files).run();
    assert_eq!(checked.code(), Some(0), "{}{}", checked.stdout, checked.stderr);
}

#[test]
fn the_manifests_fit_the_configuration_and_the_image() {
    let [deployment, service, budget, policy] =
        ["deployment", "service", "poddisruptionbudget", "networkpolicy"].map(manifest);
    let pod = &deployment["spec"]["template"]["spec"];
    let server = &pod["containers"][0];
    let configuration = configuration();
    let table: toml::Table = configuration.parse().unwrap();
    let table = serde_json::to_value(table).unwrap();

    // Each selector names the labels of the pods.
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let spread = &pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"];
    let selectors = [
        &deployment["spec"]["selector"]["matchLabels"],
        &budget["spec"]["selector"]["matchLabels"],
        &policy["spec"]["podSelector"]["matchLabels"],
        &service["spec"]["selector"],
        spread,
    ];
    assert!(selectors.into_iter().all(|selector| selector == labels), "{selectors:?}");
    // A node can be emptied, and most pods stay.
    let (replicas, unavailable) = (&deployment["spec"]["replicas"], &budget["spec"]["maxUnavailable"]);
    assert_eq!((replicas.as_u64(), unavailable.as_u64()), (Some(3), Some(1)));

    // The ports are those of the listeners, and the probes use the admin endpoint.
    let listeners = [("main", &table["listeners"]["main"]["listen"]), ("admin", &table["admin"]["listen"])];
    let ports = server["ports"].as_array().unwrap();
    for ((name, address), declared) in listeners.into_iter().zip(ports) {
        assert_eq!((&declared["name"], declared["containerPort"].as_u64()), (&name.into(), Some(port(address))));
    }
    assert_eq!((ports.len(), &service["spec"]["ports"][0]["targetPort"]), (2, &"main".into()));
    let allowed = policy["spec"]["ingress"].as_array().unwrap().iter().map(|rule| &rule["ports"][0]["port"]);
    assert_eq!(allowed.collect::<Vec<_>>(), ["main", "admin"]);
    for (probe, path) in [("startupProbe", "/readyz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(server[probe]["httpGet"], serde_json::json!({"path": path, "port": "admin"}), "{probe}");
    }
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], port(&table["admin"]["listen"]).to_string());
    // A handler may take 30 s to start.
    let startup = &server["startupProbe"];
    assert!(startup["periodSeconds"].as_u64().unwrap() * startup["failureThreshold"].as_u64().unwrap() > 30);

    // The pod has time to drain. Readiness ends before the listeners close.
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= stop_seconds(&configuration));
    let readiness = &server["readinessProbe"];
    let noticed = readiness["periodSeconds"].as_u64().unwrap() * readiness["failureThreshold"].as_u64().unwrap();
    assert!(seconds(&configuration.parse().unwrap(), "announce") > noticed);

    // The user is that of the image, and no container has a privilege.
    let user = read("Dockerfile").lines().find_map(|line| line.strip_prefix("USER ")?.parse::<u64>().ok()).unwrap();
    let context = &pod["securityContext"];
    assert_eq!((&context["runAsNonRoot"], context["runAsUser"].as_u64()), (&true.into(), Some(user)));
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!((&pod["automountServiceAccountToken"], &pod["enableServiceLinks"]), (&false.into(), &false.into()));
    let containers = ["initContainers", "containers"].map(|list| pod[list].as_array().unwrap().iter());
    let containers: Vec<_> = containers.into_iter().flatten().collect();
    assert_eq!(containers.len(), 3);
    let volumes: Vec<_> = pod["volumes"].as_array().unwrap().iter().map(|volume| &volume["name"]).collect();
    for container in containers {
        let restricted = serde_json::json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], restricted, "{container}");
        assert_eq!(container["image"], concat!("switchboard:", env!("CARGO_PKG_VERSION")));
        assert!(container["resources"]["limits"]["memory"].is_string(), "{container}");
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert!(volumes.contains(&&mount["name"]) && mount.get("subPath").is_none(), "{mount}");
        }
    }
}

/// The bytes of a size such as `1Gi` or `312.6 MiB`.
fn bytes(size: &str) -> f64 {
    let number = size.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match size[number.len()..].trim().trim_end_matches('B') {
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        unit => panic!("{unit:?} of {size}"),
    };
    number.parse::<f64>().unwrap() * factor
}

#[test]
fn the_memory_limit_of_a_pod_is_above_what_its_configuration_can_take() {
    let volumes = Volumes::new();
    assert_eq!(volumes.script(0, str::to_owned).run().code(), Some(0));
    let checked = Program::switchboard().args(["check", "--config"]).arg(volumes.configuration()).run();
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    let most = checked.stdout.split("memory: at most ").nth(1).unwrap().split(" (").next().unwrap();
    let limit =
        manifest("deployment")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"].clone();
    let limit = bytes(limit.as_str().unwrap());
    assert!(bytes(most) < limit * 0.8, "{most} of {limit}");
    // The token is used inside of the pod only.
    let warnings: Vec<_> = checked.stderr.lines().filter(|line| line.contains("warning")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("the token crosses the network unencrypted"), "{warnings:?}");
}

/// The volumes of a pod, in a temporary directory: the config map as the kubelet mounts it, and the directory `run`.
struct Volumes {
    place: tempfile::TempDir,
    admin_port: u16,
}

impl Volumes {
    fn new() -> Self {
        let volumes = Self { place: tempfile::tempdir().unwrap(), admin_port: free_port() };
        fs::create_dir(volumes.path("run")).unwrap();
        fs::create_dir(volumes.path("config")).unwrap();
        volumes.set_config_map("first", &configuration());
        symlink("..data/switchboard.toml", volumes.configuration()).unwrap();
        volumes
    }

    fn path(&self, file: &str) -> PathBuf {
        self.place.path().join(file)
    }

    fn configuration(&self) -> PathBuf {
        self.path("config/switchboard.toml")
    }

    /// The kubelet writes a new directory and renames a symbolic link to it.
    fn set_config_map(&self, version: &str, configuration: &str) {
        let directory = self.path("config").join(version);
        fs::create_dir(&directory).unwrap();
        let configuration = self.in_place(configuration).replace(":9999", ":0");
        fs::write(directory.join("switchboard.toml"), configuration).unwrap();
        symlink(version, self.path("config/..data_tmp")).unwrap();
        fs::rename(self.path("config/..data_tmp"), self.path("config/..data")).unwrap();
    }

    fn in_place(&self, text: &str) -> String {
        let at = |file: &str| self.path(file).display().to_string();
        let text = text.replace("/etc/switchboard", &at("config")).replace("/run/switchboard", &at("run"));
        text.replace(":9900", &format!(":{}", self.admin_port))
    }

    /// The script of an init container, with a change. `switchboard` is the program under test.
    fn script(&self, container: usize, change: impl Fn(&str) -> String) -> Program {
        drop(Program::switchboard()); // builds the binary
        let deployment = manifest("deployment");
        let container = &deployment["spec"]["template"]["spec"]["initContainers"][container];
        let command: Vec<_> =
            container["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let [shell, flag, script] = command[..] else { panic!("{command:?}") };
        let path = format!("{}:{}", target().display(), std::env::var("PATH").unwrap());
        Program::at(Path::new(shell)).args([flag, &change(&self.in_place(script))]).env("PATH", path)
    }
}

/// Whether a shell waits for its command `sleep`.
fn sleeps(shell: u32) -> bool {
    let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap_or_default();
    let name = |child: &str| fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
    children.split_whitespace().any(|child| name(child) == "sleep\n")
}

#[test]
fn a_pod_creates_its_token_and_reloads_a_changed_config_map() {
    let volumes = Volumes::new();
    let create = || {
        let created = volumes.script(0, str::to_owned).run();
        assert_eq!((created.code(), &*created.stderr), (Some(0), ""));
        fs::read_to_string(volumes.path("run/token")).unwrap()
    };
    let (first, token) = (create(), create());
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    assert_ne!(first, token);
    assert_eq!(fs::metadata(volumes.path("run/token")).unwrap().permissions().mode() & 0o777, 0o600);

    let server = Program::switchboard().args(["serve", "--config"]).arg(volumes.configuration()).spawn();
    server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let sidecar = volumes.script(1, |script| {
        assert!(script.contains("sleep 5"), "{script}");
        script.replace("sleep 5", "sleep 0.1")
    });
    let mut sidecar = sidecar.spawn();
    let shell = sidecar.id();
    sidecar.wait_until("it has read the first version and waits", || sleeps(shell));
    let change = |version: &str, connections: &str| {
        volumes.set_config_map(version, &configuration().replace("2000", connections));
    };
    change("second", "1999");
    server.wait_for_event(|event| event["message"] == "reloaded" && event["changed"] == "main");
    change("third", "many"); // not even TOML
    server.wait_for_event(|event| event["message"] == "reload rejected");
    change("fourth", "1998");
    let reloads = || server.log().iter().filter(|event| event["message"] == "reloaded").count();
    sidecar.wait_until("the next change is applied", || reloads() == 2);
    // A sidecar that ignores SIGTERM would delay the end of the pod.
    sidecar.signal(Signal::SIGTERM);
    let ended = sidecar.wait();
    let change = "listeners.main.limits.connections: 2000 -> 1999";
    assert!(
        ended.stdout.contains(change) && ended.stderr.contains("the reload was rejected"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
}

#[test]
fn a_mount_that_nobody_can_write_causes_no_warning() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("mount")).unwrap();
    fs::write(place.path().join("switchboard.toml"), "handler = 'echo'\n").unwrap();
    for (end, warns) in [("true", true), ("mount -o remount,ro mount", false)] {
        let setup = format!("mount -t tmpfs -o mode=0777 tmpfs mount && cp switchboard.toml mount && {end}");
        let arguments = ["check", "--config", "mount/switchboard.toml"];
        let Some(program) = in_namespaces(&["--mount"], &setup, place.path(), &arguments) else { return };
        let checked = program.run();
        assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
        assert_eq!(
            checked.stderr.contains("every user can replace mount/switchboard.toml"),
            warns,
            "{}",
            checked.stderr
        );
    }
}
