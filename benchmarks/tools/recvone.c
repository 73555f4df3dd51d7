/* recvone: the cheapest receiver of datagrams that is woken for each and reads one at a time; it looks at none.
 *
 * recvone PORT BYTES    listens on 127.0.0.1 with a receive buffer of BYTES; SIGTERM ends it, and it prints
 *                       {"datagrams": N, "cpu_s": S}.
 *
 * What a relay of that kind costs is this and all that it does with the line.
 *
 * Build: gcc -O2 -o recvone recvone.c
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t ended;
static void end(int number) { (void)number; ended = 1; }
static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec * 1e-6; }

int main(int argc, char **argv) {
    static char buffer[65536];
    struct sockaddr_in a = {.sin_family = AF_INET};
    struct epoll_event wanted = {.events = EPOLLIN}, event;
    struct sigaction action = {.sa_handler = end};
    struct rusage used;
    unsigned long datagrams = 0;
    int fd, epoll = epoll_create1(0), room;
    if (argc != 3) return 2;
    a.sin_port = htons((unsigned short)atoi(argv[1]));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    room = atoi(argv[2]);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0) { perror("bind"); return 2; }
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted);
    sigaction(SIGTERM, &action, NULL);
    while (!ended)
        if (epoll_wait(epoll, &event, 1, -1) > 0 && recv(fd, buffer, sizeof buffer, 0) > 0) datagrams++;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"datagrams\": %lu, \"cpu_s\": %.6f}\n", datagrams, seconds(used.ru_utime) + seconds(used.ru_stime));
    return 0;
}
