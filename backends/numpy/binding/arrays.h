// NumPy arrays as inputs and outputs.
//
// They are read through NumPy's C API: importing a few arrays through DLPack takes longer than a step of a small layer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <initializer_list>

#include <nanobind/nanobind.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

#include "../kernels/kernels.h"

namespace nb = nanobind;
using namespace xrnn;

namespace {

PyArrayObject* as_array(nb::handle h) {
    // A subclass is refused: its operators may mean something else.
    if (!PyArray_CheckExact(h.ptr())) throw nb::type_error("expected NumPy arrays");
    return reinterpret_cast<PyArrayObject*>(h.ptr());
}

template <class S>
constexpr int TYPE = NPY_FLOAT64;
template <>
constexpr int TYPE<float> = NPY_FLOAT32;
template <>
constexpr int TYPE<int64_t> = NPY_INT64;

// With a predicate, std::equal compares the sizes itself. Without one it calls memcmp, which takes longer for so few.
bool has_shape(PyArrayObject* array, std::initializer_list<int64_t> shape) {
    return PyArray_NDIM(array) == int(shape.size()) &&
           std::equal(shape.begin(), shape.end(), PyArray_DIMS(array), std::equal_to());
}

// An input, read through its strides. It is copied only if its elements are misaligned. It holds a reference to its
// array, which may lose all other references while an operation runs without the GIL.
template <class S>
class Input {
   public:
    Input(nb::handle h, std::initializer_list<int64_t> shape) : array(as_array(h)), kept(nb::borrow(h)) {
        check(shape);
        if (!PyArray_ISBEHAVED_RO(array) || !strides_are_whole()) copy();
    }

    const S* data() const { return static_cast<const S*>(PyArray_DATA(array)); }
    int64_t stride(int axis) const { return PyArray_STRIDE(array, axis) / int64_t(sizeof(S)); }
    Matrix<S> matrix() const { return {data(), stride(0), stride(1)}; }

    Input& contiguous() {
        if (!PyArray_IS_C_CONTIGUOUS(array)) copy();
        return *this;
    }
    // For numbers that determine which memory is accessed: another thread may change the original while the kernel
    // runs.
    Input& own_copy() {
        copy();
        return *this;
    }
    Input& contiguous_rows() {
        if (stride(PyArray_NDIM(array) - 1) != 1) copy();
        return *this;
    }

   private:
    PyArrayObject* array;
    nb::object kept;

    void check(std::initializer_list<int64_t> shape) const {
        if (PyArray_TYPE(array) != TYPE<S> || !PyArray_ISNOTSWAPPED(array) || !has_shape(array, shape))
            throw nb::type_error("the arrays don't fit each other in dtype or shape");
    }
    bool strides_are_whole() const {  // false for a field of a packed record
        for (int axis = 0; axis < PyArray_NDIM(array); ++axis)
            if (PyArray_STRIDE(array, axis) % int64_t(sizeof(S))) return false;
        return true;
    }
    void copy() {
        PyObject* made = PyArray_CheckFromAny(
            reinterpret_cast<PyObject*>(array), nullptr, 0, 0,
            NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_ENSURECOPY, nullptr);
        if (!made) throw nb::python_error();
        array = reinterpret_cast<PyArrayObject*>(made);
        kept = nb::steal(made);
    }
};

// An array to overwrite. It is contiguous, since the layer made it.
template <class S>
S* output(nb::handle h, std::initializer_list<int64_t> shape) {
    Input<S> checked(h, shape);
    PyArrayObject* array = as_array(h);
    if (!PyArray_ISCARRAY(array)) throw nb::type_error("expected contiguous, writable arrays to overwrite");
    return static_cast<S*>(PyArray_DATA(array));
}

// A matrix to overwrite: contiguous, or the transpose of a contiguous matrix.
template <class S>
WeightGradient<S> weight_gradient(nb::handle h, std::initializer_list<int64_t> shape) {
    PyArrayObject* array = as_array(h);
    if (!PyArray_ISFARRAY(array) || PyArray_IS_C_CONTIGUOUS(array)) return {output<S>(h, shape), false};
    Input<S> checked(h, shape);
    return {static_cast<S*>(PyArray_DATA(array)), true};
}

template <class S>
nb::object empty(std::initializer_list<npy_intp> shape) {
    PyObject* made = PyArray_SimpleNew(int(shape.size()), const_cast<npy_intp*>(shape.begin()), TYPE<S>);
    if (!made) throw nb::python_error();
    return nb::steal(made);
}

template <class S>
S* data(const nb::object& made) {
    return static_cast<S*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(made.ptr())));
}

int ndim(nb::handle h) { return PyArray_NDIM(as_array(h)); }

// The size of an axis; a negative axis counts from the end.
int64_t size(nb::handle h, int axis) {
    PyArrayObject* array = as_array(h);
    const int axes = PyArray_NDIM(array), at = axis < 0 ? axes + axis : axis;
    if (at < 0 || at >= axes) throw nb::type_error("the arrays don't fit each other in dtype or shape");
    return PyArray_DIM(array, at);
}

template <class... Items>
nb::object tuple_of(const Items&... items) {
    PyObject* made = PyTuple_Pack(sizeof...(items), items.ptr()...);
    if (!made) throw nb::python_error();
    return nb::steal(made);
}

bool is_float32(nb::handle h) { return PyArray_TYPE(as_array(h)) == NPY_FLOAT32; }

}  // namespace
