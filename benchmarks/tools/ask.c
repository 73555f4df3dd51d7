/* ask: asks an HTTP server the same questions again and again.   ask PORT CLIENTS SECONDS [RATE] < paths
 *
 * Each client is a thread with one kept connection and one question at a time; all take the paths in turn.  With RATE
 * all of them together ask at most so many questions a second, evenly; one who comes late does not catch up.  Prints
 * one JSON object: answers, their rate, those that were no 200, and how long they took (milliseconds).
 *
 * Build: cc -O2 -pthread -o ask ask.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_TIMES (1 << 20)

static char **questions;
static size_t n_questions;
static atomic_size_t turn;
static int port;
static double end, pause_s;

struct client { pthread_t thread; double next; size_t answers, refused, broken; float *times; char *room; size_t size; };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int connected(void) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) { if (fd >= 0) close(fd); return -1; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

/* Tells whether `have` bytes are a whole answer; a chunked one is whole when its last chunk is. */
static int whole(struct client *me, size_t have) {
    char *body, *line;
    me->room[have] = 0;
    body = strstr(me->room, "\r\n\r\n");
    if (!body) return 0;
    body += 4;
    line = strcasestr(me->room, "\r\ncontent-length:");
    if (line && line < body) return have - (size_t)(body - me->room) >= strtoul(line + 17, NULL, 10);
    line = strcasestr(me->room, "\r\ntransfer-encoding: chunked");
    if (line && line < body) return have >= 5 && memcmp(me->room + have - 5, "0\r\n\r\n", 5) == 0;
    return 0;
}

/* Asks one question; the status, or 0 where the connection broke. */
static int asked(struct client *me, int fd, const char *question) {
    size_t left = strlen(question), have = 0;
    while (left) {
        ssize_t sent = send(fd, question, left, MSG_NOSIGNAL);
        if (sent <= 0) return 0;
        question += sent;
        left -= (size_t)sent;
    }
    do {
        ssize_t got;
        if (me->size - have < 65536) me->room = realloc(me->room, me->size *= 2);
        got = recv(fd, me->room + have, me->size - have - 1, 0);
        if (got <= 0) return 0;
        have += (size_t)got;
    } while (!whole(me, have));
    return atoi(me->room + 9);
}

static void *run(void *given) {
    struct client *me = given;
    int fd = -1;
    while (now() < end) {
        double began = now();
        int status;
        if (me->next > began) {
            usleep((useconds_t)((me->next - began) * 1e6) + 1);
            continue;
        }
        me->next = (me->next + pause_s > began ? me->next : began) + pause_s;
        if (fd < 0 && (fd = connected()) < 0) { usleep(1000); continue; }
        status = asked(me, fd, questions[atomic_fetch_add(&turn, 1) % n_questions]);
        if (!status || strcasestr(me->room, "\r\nconnection: close")) { close(fd); fd = -1; }
        if (!status) { me->broken++; continue; }
        if (me->answers < MOST_TIMES) me->times[me->answers] = (float)((now() - began) * 1e3);
        me->answers++;
        me->refused += status != 200;
    }
    if (fd >= 0) close(fd);
    return NULL;
}

static int by_time(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    char *line = NULL;
    size_t room = 0, answers = 0, refused = 0, broken = 0, kept = 0;
    int i, clients;
    double began, took;
    struct client *all;
    float *times;
    if (argc != 4 && argc != 5) { fprintf(stderr, "usage: ask PORT CLIENTS SECONDS [RATE] < paths\n"); return 2; }
    port = atoi(argv[1]);
    clients = atoi(argv[2]);
    while (getline(&line, &room, stdin) > 0) {
        line[strcspn(line, "\r\n")] = 0;
        questions = realloc(questions, (n_questions + 1) * sizeof *questions);
        if (asprintf(&questions[n_questions++], "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n", line) < 0) return 1;
    }
    all = calloc((size_t)clients, sizeof *all);
    if (!n_questions || !all) { fprintf(stderr, "no questions\n"); return 2; }
    began = now();
    end = began + atof(argv[3]);
    if (argc == 5 && atof(argv[4]) > 0) pause_s = clients / atof(argv[4]);
    for (i = 0; i < clients; i++) {
        all[i].next = began + pause_s * i / clients;
        all[i].times = malloc(MOST_TIMES * sizeof(float));
        all[i].room = malloc(all[i].size = 1 << 18);
        pthread_create(&all[i].thread, NULL, run, &all[i]);
    }
    times = malloc((size_t)clients * MOST_TIMES * sizeof(float));
    for (i = 0; i < clients; i++) {
        size_t some;
        pthread_join(all[i].thread, NULL);
        some = all[i].answers < MOST_TIMES ? all[i].answers : MOST_TIMES;
        memcpy(times + kept, all[i].times, some * sizeof(float));
        kept += some;
        answers += all[i].answers;
        refused += all[i].refused;
        broken += all[i].broken;
    }
    took = now() - began;
    qsort(times, kept, sizeof *times, by_time);
    printf("{\"answers\": %zu, \"per_s\": %.1f, \"refused\": %zu, \"broken\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"longest_ms\": %.3f}\n",
           answers, (double)answers / took, refused, broken, kept ? times[kept / 2] : 0.0, kept ? times[kept * 99 / 100] : 0.0,
           kept ? times[kept - 1] : 0.0);
    return 0;
}
