//! What registries, container runtimes and service managers expect: packages of the crates, the image, and the unit.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Component, Path, PathBuf};

use harness::{Program, Signal, root, tool, uninterrupted};
use serde_json::{Value, json};

const PUBLISHED: [(&str, &str); 3] =
    [("switchboard", "framework"), ("switchboard-handlers", "handlers"), ("switchboard-server", "bin")];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn cargo(args: &[&str]) -> String {
    let ran = Program::at(&tool("cargo").unwrap()).args(args).arg("--offline").current_dir(root()).run();
    assert_eq!(ran.code(), Some(0), "{args:?}: {}", ran.stderr);
    ran.stdout
}

fn metadata() -> Value {
    serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap()
}

/// `cargo run` runs the only binary of the default members, and fails if there are more.
#[test]
fn cargo_run_starts_the_server() {
    let metadata = metadata();
    let defaults = metadata["workspace_default_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter().filter(|package| defaults.contains(&package["id"]));
    let targets = packages.flat_map(|package| package["targets"].as_array().unwrap());
    let binaries: Vec<_> =
        targets.filter(|target| target["kind"] == json!(["bin"])).map(|target| &target["name"]).collect();
    assert_eq!(binaries, ["switchboard"]);
}

#[test]
fn the_metadata_of_published_crates_is_complete() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let is_published = |package: &&Value| package["publish"].is_null();
    let published: BTreeSet<_> =
        packages.iter().filter(is_published).map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(published, PUBLISHED.map(|(name, _)| name).into());
    for package in packages.iter().filter(is_published) {
        let name = &package["name"];
        for key in ["description", "license", "readme", "rust_version"] {
            assert!(package[key].is_string(), "{name} has no {key}");
        }
        let keywords: Vec<_> =
            package["keywords"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert!((1..=5).contains(&keywords.len()), "{name}: a registry accepts five keywords: {keywords:?}");
        assert!(!package["categories"].as_array().unwrap().is_empty(), "{name} has no category");
        // A path is not in the package, so a dependency has a version too. Only tests can do without.
        for dependency in package["dependencies"].as_array().unwrap() {
            assert!(dependency["req"] != "*", "{name}: {} has no version", dependency["name"]);
        }
    }
}

#[test]
fn a_package_has_the_licences_and_every_file_that_its_source_includes() {
    for (name, folder) in PUBLISHED {
        let list = cargo(&["package", "--list", "--allow-dirty", "--package", name]);
        let files: BTreeSet<_> = list.lines().collect();
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(files.contains(licence), "{name} has no {licence}");
            assert_eq!(read(licence), read(&format!("{folder}/{licence}")));
        }
        assert!(files.contains("README.md"), "{name} has no README.md");
        for source in files.iter().filter(|file| file.ends_with(".rs")) {
            let text = read(&format!("{folder}/{source}"));
            for included in text.split("include_str!(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                let path = normal(&Path::new(source).parent().unwrap().join(included));
                let path = path.unwrap_or_else(|| panic!("{folder}/{source}: {included} is outside of the package"));
                assert!(files.contains(&*path), "{folder}/{source}: {included} is not in the package");
            }
        }
    }
}

/// The path without `..`, or `None` if it leaves the package.
fn normal(path: &Path) -> Option<String> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => normal.pop().then_some(())?,
            part => normal.push(part),
        }
    }
    Some(normal.to_str().unwrap().to_owned())
}

#[test]
fn every_document_names_the_same_compiler_version() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let version = manifest["workspace"]["package"]["rust-version"].as_str().unwrap();
    for page in ["README.md", "CONTRIBUTING.md"] {
        let text = read(page);
        let minor = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().map(str::to_owned);
        let named: Vec<_> = text.split("Rust 1.").skip(1).filter_map(minor).collect();
        assert!(!named.is_empty() && named.iter().all(|minor| version[2..] == *minor), "{page}: {named:?}");
    }
}

#[test]
fn the_image_has_a_numeric_user_and_serves_and_checks_what_its_configuration_says() {
    let image = read("bin/packaging/Dockerfile").replace("\\\n", "");
    let after =
        |start: &str| image.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{start}"));
    let user = after("USER ");
    assert!(user.parse::<u32>().is_ok_and(|user| user > 0), "{user}");
    assert!(image.contains(&format!(" --uid {user} ")), "{image}");
    let configuration: toml::Table = read("bin/packaging/image.toml").parse().unwrap();
    assert!(configuration["listen"].as_str().unwrap().ends_with(&format!(":{}", after("EXPOSE "))));
    let admin = configuration["admin"]["listen"].as_str().unwrap();
    let health = after("HEALTHCHECK ").split_once("CMD ").unwrap().1;
    let health: Vec<String> = serde_json::from_str(health).unwrap();
    assert_eq!(health.last().unwrap(), admin);
    let directory = Path::new(admin.strip_prefix("unix:").unwrap()).parent().unwrap();
    assert!(image.contains(&format!("--owner=switchboard --group=switchboard {}", directory.display())), "{image}");
    // The program understands the command of the health check; without a server, the check fails.
    let place = tempfile::tempdir().unwrap();
    let nobody = format!("unix:{}", place.path().join("admin.sock").display());
    let arguments = health[1..].iter().map(|word| if word == admin { &nobody } else { word });
    let checked = Program::switchboard().args(arguments).current_dir(place.path()).run();
    assert_eq!(checked.code(), Some(1), "{}", checked.stderr);
}

#[test]
fn the_unit_stops_the_server_and_waits_for_the_end_of_the_drain() {
    let unit = read("bin/packaging/systemd/switchboard.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("ExecStop=/bin/sh -c '")?.strip_suffix('\'')).unwrap();
    let command = |main: &str| Program::at(&tool("sh").unwrap()).args(["-c", stop]).env("MAINPID", main);
    // The main process has exited before: there is nothing to wait for.
    assert_eq!(command("").run().code(), Some(0));

    let config = ["--set", "handlers.hello.delay=1h", "--set", "drain.deadline=1h", "--framing", "lines"];
    let server = Program::switchboard().args(["serve", "--listen", "tcp://127.0.0.1:0"]).args(config).start();
    let mut client = TcpStream::connect(server.socket("main")).unwrap();
    uninterrupted(|| client.read_exact(&mut [0; 9])).unwrap();
    client.write_all(b"Ada\n").unwrap();
    let mut stopping = command(&server.id().to_string()).spawn();
    server.wait_for_event(|event| event["message"] == "draining");
    let mut polls = 0;
    stopping.wait_until("it has been polled for some time", || {
        polls += 1;
        polls > 20
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(3));
    assert_eq!(stopping.wait().code(), Some(0));
}
