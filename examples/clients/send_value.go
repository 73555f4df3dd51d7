// Send one value over UDP: go run send_value.go PROCESS PATH VALUE
package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

func setting(name, otherwise string) string {
	if value, found := os.LookupEnv(name); found {
		return value
	}
	return otherwise
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: send_value PROCESS PATH VALUE")
		os.Exit(2)
	}
	address := net.JoinHostPort(setting("DATTSS_SERVER_UDP_HOST", "127.0.0.1"), setting("DATTSS_SERVER_UDP_PORT", "8127"))
	door, err := net.Dial("udp", address)
	if err == nil {
		defer door.Close()
		_, err = door.Write([]byte(strings.Join(append([]string{os.Getenv("DATTSS_AUTH_KEY")}, os.Args[1:]...), ":")))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
