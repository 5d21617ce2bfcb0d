//! Tests of `cli.rs`.

use super::*;

fn read(line: &str) -> Result<Command, clap::Error> {
    Cli::read(line.split(' ').map(OsString::from), &crate::registry())
}

#[test]
fn serve_is_the_default_command() {
    for line in ["switchboard --listen udp://[::1]:1", "switchboard serve --listen udp://[::1]:1"] {
        let Ok(Command::Serve(options)) = read(line) else { panic!("{line}") };
        let inputs = options.inputs(std::iter::empty());
        assert_eq!(inputs.flags, [("--listen".into(), "listen".into(), "udp://[::1]:1".into())]);
    }
    assert!(matches!(read("switchboard"), Ok(Command::Serve(_))));
}

#[test]
fn every_flag_is_a_key() {
    let line = "switchboard check -c f.toml --handler echo --framing lines --set a.b=c=d --set e= --log-level debug --log-format json";
    let Ok(Command::Check { options, bind: false, .. }) = read(line) else { panic!("{line}") };
    let inputs = options.inputs(std::iter::empty());
    assert_eq!(inputs.file, Some("f.toml".into()));
    let flags: Vec<String> = inputs.flags.iter().map(|(flag, key, value)| format!("{flag}|{key}|{value}")).collect();
    assert_eq!(
        flags,
        [
            "--handler|handler|echo",
            "--framing|framing|lines",
            "--log-level|log.level|debug",
            "--log-format|log.format|json",
            "--set a.b|a.b|c=d",
            "--set e|e|",
        ]
    );
}

#[test]
fn the_help_lists_the_names_of_the_registry() {
    let mut registry = crate::registry();
    let build = |_: switchboard::registry::NoOptions| Ok(switchboard::framing::Raw::default());
    registry.framing("netstring", build);
    for line in ["switchboard", "switchboard check", "switchboard config diff"] {
        let args = format!("{line} --help");
        let help = Cli::read(args.split(' ').map(OsString::from), &registry).unwrap_err().to_string();
        for part in ["udp", "echo, hello", "netstring"] {
            assert!(help.contains(part), "{part} is not in\n{help}");
        }
    }
}

#[test]
fn wrong_usage_is_reported() {
    for line in [
        "switchboard --nonsense",
        "switchboard dance",
        "switchboard --set novalue",
        "switchboard --listen a --listen b",
        "switchboard connect",
        "switchboard connect 127.0.0.1:9999",
        "switchboard connect tcp://a:1 --wait long",
        "switchboard connect tls://a:1 --cert cert.pem",
        "switchboard connect tls://a:1 --ca ca.pem --insecure",
        "switchboard config --origin --format json",
        "switchboard config --origin diff",
        "switchboard completions tcsh",
        "switchboard status --listen tcp://a:1",
        "switchboard status --admin a:1",
        "switchboard status --admin tcp://a:1 --config f.toml",
        "switchboard connections --kill 1 --peer 10.0.0.0/8",
        "switchboard connections --peer 10.0.0.1/8",
        "switchboard connections --limit 0",
        "switchboard top --count 1",
        "switchboard top --interval 0s",
    ] {
        assert!(read(line).is_err_and(|error| error.use_stderr()), "{line}");
    }
    assert!(read("switchboard --help").is_err_and(|error| !error.use_stderr()));
    assert!(read("switchboard --version").is_err_and(|error| !error.use_stderr()));
}

#[test]
fn diff_is_a_subcommand_of_config() {
    let Ok(Command::Config { command: Some(ConfigCommand::Diff { options, against, .. }), .. }) =
        read("switchboard config diff --handler echo --against old.toml")
    else {
        panic!()
    };
    assert_eq!(against, Some("old.toml".into()));
    assert_eq!(options.inputs(std::iter::empty()).flags.len(), 1);
    assert!(matches!(read("switchboard config"), Ok(Command::Config { command: None, .. })));
}
