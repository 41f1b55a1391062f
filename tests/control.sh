# How many teams run a service by hand: control.sh VERB ROOT SLOT PORT PYTHON, with process ids and logs in ROOT.
verb=$1 slot=$2/$3 port=$4 python=$5
service=$(dirname "$0")/services.py

alive() {
  pid=$(cat "$1" 2>/dev/null) && kill -0 "$pid" 2>/dev/null && ! grep -q ') Z ' "/proc/$pid/stat"
}

end() {
  alive "$1" || return 0
  kill -TERM "$pid"
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    alive "$1" || return 0
    sleep 0.2
  done
  kill -KILL "$pid"
}

case $verb in
  start)
    alive "$slot.pid" && exit 0
    echo "$VERSION" > "$slot.version"
    nohup "$python" "$service" "$port" >> "$slot.log" 2>&1 &
    echo $! > "$slot.pid"
    ;;
  stop) end "$slot.pid" ;;
  status) alive "$slot.pid" || exit 3 ;;
  version) cat "$slot.version" ;;
  log) cat "$slot.log" ;;
  background_start)
    alive "$slot.worker" && exit 0
    nohup sleep "1000.$port" > /dev/null 2>&1 &
    echo $! > "$slot.worker"
    ;;
  background_stop) end "$slot.worker" ;;
esac
