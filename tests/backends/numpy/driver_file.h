// Reads the file of problems; driver_file.py describes its format.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

using Numbers = std::map<std::string, std::vector<double>>;  // arrays by name

struct Record {
    std::string name;
    Numbers given, expected;
};

inline void read_array(std::FILE* file, Numbers& into) {
    char name[64];
    long long size;
    if (std::fscanf(file, "%63s %lld", name, &size) == 2 && std::fgetc(file) == '\n') {
        std::vector<double>& values = into[name];
        values.resize(size);
        if (std::fread(values.data(), sizeof(double), size, file) == size_t(size)) return;
    }
    std::printf("the file of problems is damaged: expected what driver_file.py wrote; write it again\n");
    std::exit(2);
}

inline std::vector<Record> read_records(const char* path) {
    std::vector<Record> records;
    std::FILE* file = std::fopen(path, "rb");
    char name[64];
    int given, expected;
    bool complete = false;
    while (file && std::fscanf(file, "%63s %d %d", name, &given, &expected) == 3 && std::fgetc(file) == '\n') {
        if ((complete = std::strcmp(name, "end") == 0)) break;
        Record& record = records.emplace_back();
        record.name = name;
        for (int i = 0; i < given; ++i) read_array(file, record.given);
        for (int i = 0; i < expected; ++i) read_array(file, record.expected);
    }
    if (records.empty() || !complete) {
        std::printf("%s has no problems, or is truncated: expected what driver_file.py wrote\n", path);
        std::exit(2);
    }
    std::fclose(file);
    return records;
}
