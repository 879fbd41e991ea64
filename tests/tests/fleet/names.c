/* Resolves the name `cache.test` to the address in the file LARDER_NAME. Loaded before the C library, so that what a name
 * means can change under a process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int resolve(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict found) {
    resolve *next = (resolve *)dlsym(RTLD_NEXT, "getaddrinfo");
    char address[64] = "";
    FILE *file = name && !strcmp(name, "cache.test") ? fopen(getenv("LARDER_NAME"), "r") : NULL;
    if (file) {
        if (fgets(address, sizeof address, file)) name = address;
        fclose(file);
    }
    return next(name, service, hints, found);
}
