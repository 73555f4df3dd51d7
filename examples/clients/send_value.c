/* Send one value over UDP: send_value PROCESS PATH VALUE */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value ? value : otherwise;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s PROCESS PATH VALUE\n", argv[0]);
        return 2;
    }
    struct addrinfo wanted, *found;
    memset(&wanted, 0, sizeof wanted);
    wanted.ai_socktype = SOCK_DGRAM;
    if (getaddrinfo(setting("DATTSS_SERVER_UDP_HOST", "127.0.0.1"), setting("DATTSS_SERVER_UDP_PORT", "8127"),
                    &wanted, &found) != 0) {
        fprintf(stderr, "no such host or port\n");
        return 1;
    }
    char line[2048];
    int length = snprintf(line, sizeof line, "%s:%s:%s:%s", setting("DATTSS_AUTH_KEY", ""), argv[1], argv[2], argv[3]);
    int door = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    int sent = length > 0 && length < (int)sizeof line && door >= 0 &&
               sendto(door, line, (size_t)length, 0, found->ai_addr, found->ai_addrlen) == length;
    freeaddrinfo(found);
    if (door >= 0)
        close(door);
    return sent ? 0 : 1;
}
