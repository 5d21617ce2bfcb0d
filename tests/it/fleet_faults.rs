//! A fleet whose server is wrong, gone, paused, empty, read-only or full: clear errors, a bounded fallback, recovery.

use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use harness::{ClosedPort, Program, Signal, TEST_TIMEOUT};

use crate::admin::AdminServer;
use crate::fleet::{Redis, exchange, fleet, instance};

/// Runs `check --bind` with settings of the fleet. Returns the exit status and the errors.
fn check(settings: &[&str]) -> (Option<i32>, String) {
    let settings = ["listen=tcp://127.0.0.1:0", "fleet.timeout=300ms"].iter().chain(settings);
    let settings = settings.flat_map(|setting| ["--set", setting]);
    let directory = tempfile::tempdir().unwrap();
    let ended = Program::switchboard().args(["check", "--bind"]).args(settings).current_dir(directory.path()).run();
    (ended.code(), ended.stderr)
}

#[track_caller]
fn fails(settings: &[&str], status: i32, texts: &[&str]) {
    let (code, errors) = check(settings);
    assert_eq!(code, Some(status), "{errors}");
    for text in texts {
        assert!(errors.contains(text), "{text:?} is missing: {errors}");
    }
}

#[test]
fn check_names_every_problem_of_a_link() {
    let closed = ClosedPort::reserve();
    let link = format!("redis://{}", closed.address());
    fails(&[&format!("fleet.link={link}")], 1, &[&format!("fleet.link: cannot reach {link}"), "refused", "--set"]);
    fails(&["fleet.link=redis+unix:/nonexistent/redis.sock"], 1, &["fleet.link: cannot reach", "No such file"]);
    fails(
        &["fleet.link=redis://no-such-host.invalid"],
        1,
        &["fleet.link: cannot reach redis://no-such-host.invalid:6379"],
    );
    // Accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = format!("fleet.link=redis://{}", silent.local_addr().unwrap());
    fails(&[&link], 1, &["fleet.link: ", "does not answer within 300ms"]);
    // Speaks something else.
    let hello = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]).start();
    let link = format!("fleet.link=redis://{}", hello.socket("main"));
    fails(&[&link], 1, &["fleet.link: ", "does not speak the protocol of Redis"]);
}

#[test]
fn check_names_wrong_credentials_and_a_server_that_cannot_be_written() {
    let Some(redis) = Redis::start(&["--requirepass", "right"]) else { return };
    let link = format!("fleet.link={}", redis.link());
    fails(&[&link], 1, &["fleet.password: ", "rejects the user or the password", "NOAUTH"]);
    fails(&[&link, "fleet.password=wrong"], 1, &["fleet.password: ", "rejects the user or the password"]);
    let (code, output) = check(&[&link, "fleet.password=right"]);
    assert_eq!(code, Some(0), "{output}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "right\n").unwrap();
    let file = format!("fleet.password_file={}", file.display());
    assert_eq!(check(&[&link, &file]).0, Some(0));
    fails(&[&link, &file, "fleet.password=right"], 78, &["fleet.password_file: cannot be set together"]);
    fails(&[&link, "fleet.password_file=/nonexistent/file"], 78, &["fleet.password_file: cannot read the password"]);
    let Some(redis) = Redis::start(&["--replicaof", "127.0.0.1 1"]) else { return };
    fails(&[&format!("fleet.link={}", redis.link())], 1, &["fleet.link: ", "is read-only"]);
}

#[test]
fn an_invalid_section_is_rejected_and_no_password_is_shown() {
    fails(&["fleet.lease=1s"], 78, &["fleet.link: is missing; write it like \"redis://127.0.0.1:6379\""]);
    fails(&["fleet.link=localhost"], 78, &["fleet.link: \"localhost\" is not the address of a server"]);
    fails(&["fleet.link=redis://h", "fleet.lease=1ms"], 78, &["fleet.lease: \"1ms\" is out of range; 50ms to 1m"]);
    fails(&["fleet.link=redis://h", "fleet.limits=messages"], 78, &["fleet.limits", "messages_per_source"]);
    fails(&["fleet.link=redis://h", "fleet.name=a{b}"], 78, &["fleet.name: ", "is not the name of a fleet"]);
    fails(&["fleet.link=redis://h", "fleet.ca=/nonexistent"], 78, &["fleet.ca: "]);
    let (code, errors) = check(&["fleet.link=redis://user:hunter2@localhost"]);
    assert!(code == Some(78) && errors.contains("fleet.password") && !errors.contains("hunter2"), "{errors}");
    let settings = ["--set", "fleet.link=redis://h", "--set", "fleet.password=hunter2"];
    let printed = Program::switchboard().args(["config"]).args(settings).run();
    assert!(
        printed.stdout.contains("link = \"redis://h\"") && !printed.stdout.contains("hunter2"),
        "{}",
        printed.stdout
    );
}

#[test]
fn a_server_starts_without_the_link_and_divides_its_limits() {
    let closed = ClosedPort::reserve();
    let link = format!("fleet.link=redis://{}", closed.address());
    let settings = [&*link, "fleet.instances=4", "rate.messages_per_source=100/s"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    let server = AdminServer::start(&settings);
    let event = server.0.wait_for_event(|event| event["message"] == "fleet limits divided");
    assert_eq!((event["level"].as_str(), event["instances"].as_u64()), (Some("ERROR"), Some(4)));
    assert!(
        event["error"].as_str().unwrap().contains(&format!("cannot reach redis://{}", closed.address())),
        "{event}"
    );
    server.client();
    let fleet = fleet(&server);
    assert_eq!((fleet["state"].as_str(), fleet["connected"].as_bool()), (Some("divided"), Some(false)));
    assert!(server.metric("switchboard_fleet_failures_total{class=\"unreachable\"}").unwrap() >= 1.0);
    assert_eq!(server.metric("switchboard_fleet_shared"), Some(0.0));
    assert_eq!(server.get("/readyz").status, 200);
}

/// The messages of one source that a server answers, until it has answered `wanted` of them. Returns the seconds.
fn seconds_for(io: &mut TcpStream, wanted: usize) -> f64 {
    let began = Instant::now();
    (0..wanted).for_each(|_| exchange(io).unwrap());
    began.elapsed().as_secs_f64()
}

#[test]
fn every_fault_of_the_server_divides_the_limits_until_it_is_over() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let settings = ["rate.messages_per_source=200/s", "rate.burst=40", "fleet.timeout=100ms"];
    let server = instance(&redis, &settings);
    let other = instance(&redis, &settings);
    server.wait_until("it sees both instances", || fleet(&server)["instances"] == 2);
    let mut io = TcpStream::connect(server.0.socket("main")).unwrap();
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let failed = |class: &str| server.metric(&format!("switchboard_fleet_failures_total{{class=\"{class}\"}}"));
    let mut checks = |class: &str, heal: &mut dyn FnMut()| {
        let before = failed(class).unwrap();
        server.wait_until(class, || failed(class).unwrap() > before && fleet(&server)["state"] == "divided");
        // Half of the rate, a burst, and what was left of the lease.
        let seconds = seconds_for(&mut io, 200);
        assert!(200.0 <= 100.0 * seconds + 40.0 + 40.0, "{class}: {seconds} s");
        heal();
        server.wait_until("it recovers", || fleet(&server)["state"] == "shared");
        other.wait_until("the other recovers", || fleet(&other)["state"] == "shared");
        exchange(&mut io).unwrap();
        server.wait_until("no instance is lost", || fleet(&server)["instances"] == 2);
    };
    redis.signal(Signal::SIGSTOP);
    checks("timeout", &mut || redis.signal(Signal::SIGCONT));
    redis.run(["REPLICAOF 127.0.0.1 1"]);
    checks("read_only", &mut || drop(redis.run(["REPLICAOF NO ONE"])));
    redis.run(["CONFIG SET maxmemory 1"]);
    checks("out_of_memory", &mut || drop(redis.run(["CONFIG SET maxmemory 0"])));
    // Connections keep their login; the next one needs the password.
    redis.run(["CONFIG SET requirepass secret", "AUTH secret", "CLIENT KILL TYPE normal SKIPME yes"]);
    checks("credentials", &mut || {
        assert_eq!(redis.run(["AUTH secret", "CONFIG SET requirepass \"\""]), ["+OK", "+OK"]);
    });
    redis.kill();
    checks("unreachable", &mut || redis.revive());
    // An empty server: no call fails.
    let calls = || fleet(&server)["calls"].as_u64().unwrap();
    redis.run(["FLUSHALL"]);
    let before = calls();
    server.wait_until("it is called again", || calls() > before + 2);
    redis.kill();
    redis.revive();
    server.wait_until("it is counted again", || redis.run(["EXISTS {switchboard}:instances"]) == [":1"]);
}
