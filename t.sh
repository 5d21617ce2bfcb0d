B=$1
umask 022
r() { timeout 10 "$@" 2>&1 | cut -c1-260 | head -${N:-3}; echo "   [${PIPESTATUS[0]}]"; }
: > e.toml; printf '# c\n\n' > c.toml; printf '\xef\xbb\xbf' > b.toml; echo null > n.json; echo '{}' > o.json; echo '---' > d.yaml; echo '[log]' > s.toml; echo 'listeners:' > l.yaml
for f in e.toml c.toml b.toml n.json o.json d.yaml s.toml l.yaml; do echo "- $f"; r $B check -c $f; done
echo "- env"; SWITCHBOARD_ADMIN_PORT=tcp://10.3.1.4:9900 SWITCHBOARD_ADMIN_PORT_9900_TCP=tcp://10.3.1.4:9900 SWITCHBOARD_ADMIN_PORT_9900_TCP_PROTO=tcp SWITCHBOARD_ADMIN_SERVICE_HOST=10.3.1.4 SWITCHBOARD_ADMIN_SERVICE_PORT_HTTP=9900 SWITCHBOARD__X_PORT_53_UDP_ADDR=1.2.3.4 r $B check
SWITCHBOARD_LISTENERS__MAIN__PORT=9 SWITCHBOARD_LISTEN_PRT=1 r $B check
echo "- lists"; r $B check --set 'listeners.main.layers=["trace"]'; r $B check --set 'listeners.main.layers=[trace, rate]'; r $B check --set 'listeners.main.layers=["trace'; 
echo "- secrets"; r $B check --set "admin={token='hunter2"; r $B check --set "admin.token: hunter2"; r $B check admin.token=hunter2; r $B check --set "framing={ a='hunter2'"
printf '[admin]\ntoken = "hunter2\n' > x.toml;  r $B check -c x.toml; printf 'admin:\n  token: "hunter2\n  x: 1\n' > x.yaml;  r $B check -c x.yaml; printf 'a: 1\na: 2\n' > y.yaml; r $B check -c y.yaml; printf -- 'a: 1\n---\na: 2\n' > y2.yaml; r $B check -c y2.yaml; printf 'a: !include hunter2\n' > y3.yaml; r $B check -c y3.yaml;  printf 'a: &x [*x]\n' > y4.yaml; r $B check -c y4.yaml; printf 'a: !!binary hunter2\n' > y5.yaml; r $B check -c y5.yaml;printf 'a: .nan\n? [a]\n: 1' > y6.yaml; r $B check -c y6.yaml
echo "- effect"; r $B check --set listen=udp://127.0.0.1:1 --set listeners.main.timeouts.write=3s --set listeners.main.limits.connections=3; r $B check --set listeners.main.limits.sessions=4; r $B check --set listen=unix:/tmp/x --set listeners.main.rate.messages_per_source=5/s; 
echo "- addr"; r $B check --listen :9999; r $B check --listen ::1:99; r $B check --listen tcp://a:b:80
echo "- warn"; chmod 666 c.toml; printf 'handler="echo"\n' > w.toml; chmod 666 w.toml; r $B check -c w.toml; r $B check --set admin.listen=unix:/tmp/q --set admin.token=hunter2
printf '[admin]\nlisten="unix:/tmp/q"\ntoken="abc"\n' > k.toml;  r $B check -c k.toml
N=40 r $B config -c "$(printf 'a\nb = 1 \u202e.toml')" --origin | head -3; printf 'handler="echo"\n' > "$(printf 'a\nb\u202e.toml')";  $B config -c "$(printf 'a\nb\u202e.toml')" --origin | grep handler -A1 | cat -A | head -3
mkdir -p o; printf 'handler="echo"\n' > o/switchboard.toml; chown nobody o/switchboard.toml; (cd o; r $B check; r $B check -c switchboard.toml; chown root switchboard.toml; chmod 666 switchboard.toml; r $B check; chmod 644 switchboard.toml; r $B check; rm switchboard.toml; mkfifo switchboard.toml; r $B check; rm switchboard.toml)
