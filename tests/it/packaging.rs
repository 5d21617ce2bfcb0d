//! Packaging: every example configuration works, systemd accepts the units, and the package has its files.

use std::env;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use harness::{Output, Program, TEST_TIMEOUT, root, tool, uninterrupted};

use crate::tls::Authority;

fn packaging() -> PathBuf {
    root().join("bin/packaging")
}

fn examples() -> Vec<(String, toml::Table)> {
    let files = fs::read_dir(packaging().join("examples")).unwrap().map(|file| file.unwrap().path());
    let read = |path: PathBuf| {
        let table = fs::read_to_string(&path).unwrap().parse().unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), table)
    };
    files.map(read).collect()
}

/// Creates the certificate files that the TLS examples name.
fn with_certificates() -> Authority {
    let authority = Authority::new();
    for (name, host) in [("cert", "localhost"), ("other", "other.example")] {
        authority.sign(name, host, |_| {});
    }
    fs::rename(authority.path("cert.key"), authority.path("key.pem")).unwrap();
    authority
}

fn program_with_example(place: &Path, name: &str, command: &str) -> Program {
    let file = packaging().join("examples").join(name);
    Program::switchboard().current_dir(place).args([command, "--config"]).arg(file)
}

#[test]
fn every_example_is_valid_and_replies() {
    let authority = with_certificates();
    let examples = examples();
    assert!(examples.len() >= 10);
    for (name, table) in examples {
        let checked = program_with_example(authority.place(), &name, "check").run();
        assert_eq!(checked.code(), Some(0), "{name}: {}", checked.stderr);
        let listeners = table["listeners"].as_table().unwrap();
        if listeners.values().any(|listener| listener["listen"].as_str().unwrap().starts_with("systemd:")) {
            continue; // the activation tests cover passed sockets
        }
        // Replaces the ports of the example by free ones.
        let mut server = program_with_example(authority.place(), &name, "serve");
        let admin = table.get("admin").map(|admin| ("admin".to_owned(), admin));
        let places = listeners.iter().map(|(name, listener)| (format!("listeners.{name}"), listener)).chain(admin);
        for (key, section) in places {
            if let Some((scheme, _)) = section["listen"].as_str().unwrap().split_once("://") {
                server = server.args(["--set", &format!("{key}.listen={scheme}://127.0.0.1:0")]);
            }
        }
        let server = server.spawn();
        for (listener, section) in listeners {
            server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == **listener);
            let listen = section["listen"].as_str().unwrap();
            let answered = match listen.split_once(':').unwrap().0 {
                "tls" => continue, // the TLS tests cover the handshake
                "udp" => {
                    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                    socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
                    socket.send_to(b"Ada", server.socket(listener)).unwrap();
                    uninterrupted(|| socket.recv(&mut [0; 100])).unwrap()
                }
                "unix" => request(UnixStream::connect(authority.path(listen.split_once(':').unwrap().1)).unwrap()),
                _ => {
                    let mut io = TcpStream::connect(server.socket(listener)).unwrap();
                    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
                    if section.get("proxy").is_some() {
                        io.write_all(b"PROXY TCP4 198.51.100.7 198.51.100.1 5000 9999\r\n").unwrap();
                    }
                    request(io)
                }
            };
            assert!(answered > 0, "{name}: {listener} does not answer");
        }
    }
}

fn request(mut io: impl Read + Write) -> usize {
    io.write_all(b"\"Ada\"\n").unwrap();
    uninterrupted(|| io.read(&mut [0; 100])).unwrap()
}

#[test]
fn every_example_is_in_the_index() {
    let index = fs::read_to_string(packaging().join("README.md")).unwrap();
    let named =
        index.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).filter(|name| !name.contains('/'));
    let mut named: Vec<_> = named.filter(|name| name.ends_with(".toml") && *name != "switchboard.toml").collect();
    let mut there: Vec<_> = examples().into_iter().map(|(name, _)| name).collect();
    named.sort_unstable();
    there.sort();
    assert_eq!(named, there);
}

#[test]
fn the_default_configuration_is_valid() {
    let file = packaging().join("switchboard.toml");
    let checked = Program::switchboard().args(["check", "--config"]).arg(file).run();
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
}

#[test]
fn systemd_accepts_the_units_and_their_exposure_is_low() {
    verify_units(&packaging().join("systemd"), "switchboard");
}

/// Checks `NAME.service` and `NAME.socket` of a directory with systemd.
#[track_caller]
pub(crate) fn verify_units(directory: &Path, name: &str) {
    let Some(analyze) = tool("systemd-analyze") else { return };
    let place = tempfile::tempdir().unwrap();
    let units = [format!("{name}.socket"), format!("{name}.service")].map(|unit| {
        // The program is not installed on the test machine.
        let text = fs::read_to_string(directory.join(&unit)).unwrap();
        let copy = place.path().join(unit);
        fs::write(&copy, text.replace(&format!("/usr/bin/{name}"), "/bin/true")).unwrap();
        copy
    });
    let verified = Program::at(&analyze).args(["verify", "--man=no"]).args(&units).run();
    let ours = verified.stderr.lines().filter(|line| line.contains(name));
    assert_eq!((verified.code(), ours.collect::<Vec<_>>()), (Some(0), Vec::new()));
    // The threshold is out of 100; a unit without hardening has 96.
    let security = ["security", "--offline=true", "--threshold=20", "--no-pager"];
    let judged = Program::at(&analyze).args(security).arg(&units[1]).run();
    assert_eq!(judged.code(), Some(0), "{}", judged.stdout);
}

#[test]
fn the_package_has_all_files_and_the_stop_timeout_exceeds_the_drain() {
    let manifest: toml::Table = fs::read_to_string(root().join("bin/Cargo.toml")).unwrap().parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let mut sources: Vec<_> =
        deb["assets"].as_array().unwrap().iter().map(|asset| asset[0].as_str().unwrap()).collect();
    sources.extend(["maintainer-scripts", "changelog"].map(|key| deb[key].as_str().unwrap()));
    sources.push(deb["license-file"][0].as_str().unwrap());
    sources.push(deb["systemd-units"]["unit-scripts"].as_str().unwrap());
    // build-deb creates the generated files.
    let script = fs::read_to_string(packaging().join("build-deb")).unwrap();
    for source in sources {
        let is_generated =
            source.strip_prefix("packaging/made/").is_some_and(|name| script.contains(&format!("$made/{name}\"")));
        let place = root().join("bin").join(source.split('*').next().unwrap());
        assert!(is_generated || source.starts_with("target/release/") || place.exists(), "{source}");
    }
    let unit = fs::read_to_string(packaging().join("systemd/switchboard.service")).unwrap();
    let stop: u64 = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().parse().unwrap();
    assert!(stop > switchboard::settings::DrainSettings::default().deadline.as_secs());
}

/// Runs `bin/packaging/build` in an empty tree, with a compiler of LLVM 99, the given variants of llvm-profdata (place
/// and version), and a cargo that only records its arguments. Returns the result and the record.
fn build_with(profdata: &[(&str, u32)]) -> (Output, String) {
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| tree.path().join(path);
    let program = |path: &str, text: &str| {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(at(path), Permissions::from_mode(0o755)).unwrap();
    };
    for name in ["build", "with-profile", "training"] {
        program(&format!("bin/packaging/{name}"), "");
        fs::copy(packaging().join(name), at(&format!("bin/packaging/{name}"))).unwrap();
    }
    program(
        "path/rustc",
        "case $* in *host*) echo host ;; *sysroot*) echo sysroot ;; *) echo LLVM version: 99.1.2 ;; esac",
    );
    program(
        "path/cargo",
        "echo \"$CARGO_ENCODED_RUSTFLAGS $*\" >>record\n\
         mkdir -p target/packaged/host/release/deps\n\
         echo program >target/packaged/host/release/switchboard\n\
         mkdir -p target/packaged/profiles",
    );
    for (place, version) in profdata {
        program(place, &format!("[ $1 = merge ] && touch $3 || echo Some LLVM version {version}.1.8"));
    }
    let path = format!("{}:{}", at("path").display(), env::var("PATH").unwrap());
    let built = Program::at(&at("bin/packaging/build")).env("PATH", path).env("RUSTFLAGS", "-Cone -Ctwo").run();
    assert_eq!(built.code() == Some(0), at("target/packaged/switchboard").exists());
    (built, fs::read_to_string(at("record")).unwrap_or_default())
}

#[test]
fn the_packaged_build_uses_llvm_profdata_of_the_compiler_and_does_not_go_on_without_it() {
    if tool("bash").is_none() {
        return;
    }
    let sysroot = "sysroot/lib/rustlib/host/bin/llvm-profdata";
    for fitting in [
        &[(sysroot, 99)][..],
        &[("path/llvm-profdata-99", 99)],
        &[("path/llvm-profdata", 99)],
        &[(sysroot, 98), ("path/llvm-profdata-99", 9), ("path/llvm-profdata", 99)],
    ] {
        let (built, record) = build_with(fitting);
        assert_eq!(built.code(), Some(0), "{fitting:?}: {}", built.stderr);
        let [instrumented, training, last] = record.lines().collect::<Vec<_>>()[..] else { panic!("{record}") };
        assert!(instrumented.starts_with("-Cone\x1f-Ctwo\x1f-Cprofile-generate build "), "{record}");
        assert!(training.contains("/target/packaged/switchboard-instrumented"), "{record}");
        assert!(last.starts_with("-Cone\x1f-Ctwo\x1f-Cprofile-use=/"), "{record}");
    }
    for unfitting in [
        &[][..],
        &[("path/llvm-profdata", 98)],
        &[("path/llvm-profdata-99", 9)],
        &[("path/llvm-profdata-98", 99), (sysroot, 990)],
    ] {
        let (built, record) = build_with(unfitting);
        assert_eq!((built.code(), &*record), (Some(1), ""), "{unfitting:?}: {}", built.stderr);
        for part in ["LLVM 99", "rustup component add llvm-tools", "apt-get install llvm-99"] {
            assert!(built.stderr.contains(part), "{part}: {}", built.stderr);
        }
    }
}

#[test]
fn the_package_and_the_image_contain_the_optimized_build() {
    let [package, image] = ["build-deb", "Dockerfile"].map(|name| fs::read_to_string(packaging().join(name)).unwrap());
    for (text, line) in [(&package, "bin/packaging/build\n"), (&image, "RUN bin/packaging/build\n")] {
        assert!(text.contains(&format!("\n{line}")) && !text.contains("cargo build"), "{text}");
    }
    assert!(image.contains("COPY --from=build /src/target/packaged/switchboard /usr/bin/switchboard\n"), "{image}");
    // The compiler of the image is that of the workspace, and so is its LLVM.
    let rustc = Program::at(&tool("rustc").unwrap()).arg("-vV").run();
    let after = |name: &str| rustc.stdout.split(name).nth(1).unwrap().split('.').next().unwrap().to_owned();
    assert!(image.contains(&format!("rust:1.{}-", after("release: 1."))), "{image}");
    assert!(image.contains(&format!("llvm-{}\n", after("LLVM version: "))), "{image}");
}
