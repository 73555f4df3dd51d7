/* sink: counts what relays deliver.
 *
 * sink [-u] [-p] PORT ...    listens on 127.0.0.1 (-u: UDP; -p: frames of pickles, else lines)
 *
 * Each line read from stdin is answered by one JSON line on stdout: per port the lines (or points), bytes and
 * connections so far.  The end of stdin ends the program.
 *
 * Build: gcc -O2 -o sink sink.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_PORTS 64
#define READ_BYTES (1 << 20)

struct door { int number, listening; uint64_t lines, bytes, connections, bad; };
struct stream { int fd; struct door *door; int listens; unsigned char *held; size_t used, room; };

static struct door doors[MOST_PORTS];
static int count, is_udp, is_pickle;
static unsigned char buffer[READ_BYTES];

static void fail(const char *what) { perror(what); exit(2); }

static uint64_t line_feeds(const unsigned char *p, size_t n) {
    uint64_t found = 0;
    for (size_t i = 0; i < n; i++) found += p[i] == '\n';
    return found;
}

/* The points of one pickle: each is a pair within a pair, so half of the pairs; -1 for an opcode we do not know. */
static int64_t points_of(const unsigned char *p, size_t n) {
    size_t i = 0;
    int64_t pairs = 0;
    while (i < n) {
        unsigned char op = p[i++];
        uint32_t size;
        switch (op) {
        case 0x80: case 'K': case 'q': case 'h': i += 1; break;
        case 'M': i += 2; break;
        case 'J': case 'r': case 'j': i += 4; break;
        case 'G': case 0x95: i += 8; break;
        case 'X': case 'T': case 'B': memcpy(&size, p + i, 4); i += 4 + (size_t)size; break;
        case 'U': case 'C': case 0x8c: i += 1 + (size_t)p[i]; break;
        case 0x8a: i += 1 + (size_t)p[i]; break;
        case 0x86: case 't': pairs++; break;
        case ']': case '(': case 'e': case 'a': case 'l': case ')': case 0x94: break;
        case '.': return pairs / 2;
        default: return -1;
        }
    }
    return -1;
}

static void take_frames(struct stream *s) {
    size_t at = 0;
    while (s->used - at >= 4) {
        uint32_t size;
        memcpy(&size, s->held + at, 4);
        size = ntohl(size);
        if (s->used - at - 4 < size) break;
        int64_t points = points_of(s->held + at + 4, size);
        if (points < 0) s->door->bad++;
        else s->door->lines += (uint64_t)points;
        at += 4 + (size_t)size;
    }
    memmove(s->held, s->held + at, s->used - at);
    s->used -= at;
}

static void take(struct stream *s, const unsigned char *p, size_t n) {
    s->door->bytes += n;
    if (!is_pickle) {
        s->door->lines += line_feeds(p, n);
        if (is_udp && n && p[n - 1] != '\n') s->door->lines++;
        return;
    }
    if (s->used + n > s->room) {
        s->room = (s->used + n) * 2;
        s->held = realloc(s->held, s->room);
        if (!s->held) fail("realloc");
    }
    memcpy(s->held + s->used, p, n);
    s->used += n;
    take_frames(s);
}

static void tell(void) {
    printf("{");
    for (int i = 0; i < count; i++)
        printf("%s\"%d\": {\"lines\": %llu, \"bytes\": %llu, \"connections\": %llu, \"bad\": %llu}", i ? ", " : "",
               doors[i].number, (unsigned long long)doors[i].lines, (unsigned long long)doors[i].bytes,
               (unsigned long long)doors[i].connections, (unsigned long long)doors[i].bad);
    printf("}\n");
    fflush(stdout);
}

static struct stream *watch(int epoll, int fd, struct door *door, int listens) {
    struct stream *s = calloc(1, sizeof *s);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    if (!s) fail("calloc");
    s->fd = fd;
    s->door = door;
    s->listens = listens;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
    return s;
}

static void open_door(int epoll, int number) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
    int on = 1, room = 8 << 20, fd = socket(AF_INET, (is_udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (is_udp) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0) fail("bind");
    if (!is_udp && listen(fd, 512) < 0) fail("listen");
    doors[count].number = number;
    watch(epoll, fd, &doors[count], !is_udp);
    count++;
}

static void serve(int epoll, struct stream *s) {
    if (s->listens) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK);
        if (fd >= 0) {
            s->door->connections++;
            watch(epoll, fd, s->door, 0);
        }
        return;
    }
    ssize_t n = recv(s->fd, buffer, sizeof buffer, 0);
    if (n > 0) take(s, buffer, (size_t)n);
    else if (!is_udp && (n == 0 || (errno != EAGAIN && errno != EINTR))) {
        close(s->fd);
        free(s->held);
        free(s);
    }
}

int main(int argc, char **argv) {
    int epoll = epoll_create1(0), option, n;
    struct epoll_event events[256], asked = {.events = EPOLLIN, .data.ptr = NULL};
    while ((option = getopt(argc, argv, "up")) != -1) {
        if (option == 'u') is_udp = 1;
        else if (option == 'p') is_pickle = 1;
        else return 2;
    }
    for (; optind < argc && count < MOST_PORTS; optind++) open_door(epoll, atoi(argv[optind]));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &asked) < 0) fail("stdin");
    for (;;) {
        n = epoll_wait(epoll, events, 256, -1);
        if (n < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) {
                serve(epoll, events[i].data.ptr);
                continue;
            }
            char text[256];
            ssize_t got = read(0, text, sizeof text);
            if (got <= 0) return 0;
            for (ssize_t k = 0; k < got; k++)
                if (text[k] == '\n') tell();
        }
    }
}
